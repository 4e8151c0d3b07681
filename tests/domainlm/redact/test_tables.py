"""Tables, forms and SWIFT messages inside a text; none of the tables is the benchmark's."""

import json
import random
import time
from pathlib import Path

import pytest

from domainlm.redact.engine import AnalysisFailed, Scanner
from domainlm.redact.prefilter import prefilter
from domainlm.redact.recognizers import tables
from domainlm.redact.recognizers.tables import Column, cell_recognizers, entity_of, fits, is_person
from domainlm.redact.settings import (
    ABA_ROUTING_NUMBER,
    BROKERAGE_ACCOUNT,
    DATE_OF_BIRTH,
    DRIVER_LICENSE,
    KR_BANK_ACCOUNT,
    LOCATION,
    PASSPORT,
    PERSON,
    PHONE_NUMBER,
    SECRET,
    SWIFT_BIC,
    US_BANK_NUMBER,
    RedactSettings,
)

PACK = Path(__file__).parents[3] / "domains" / "finance"
SEED = 20261121
HEADERS = ("Customer name", "Passport no.", "D.O.B.", "Tel. (home)", "A/C No.", "Amount")
ROWS = (
    ("Petra Vanhoucke", "XK4471902", "3 Mar 1971", "+44 20 7946 0018", "40177263", "1,250.00"),
    ("Ilse de Groot", "533018846", "1984-11-02", "(212) 555-0147", "8830177264", "12,000"),
)
EXPECTED = {
    PERSON: ["Petra Vanhoucke", "Ilse de Groot"],
    PASSPORT: ["XK4471902", "533018846"],
    DATE_OF_BIRTH: ["3 Mar 1971", "1984-11-02"],
    PHONE_NUMBER: ["+44 20 7946 0018", "(212) 555-0147"],
    US_BANK_NUMBER: ["40177263", "8830177264"],
}


def cells(text, check=lambda: None):
    """What one pass over a text takes, by entity."""
    return {entity: [text[start:end] for start, end in spans] for entity, spans in tables._read(text, check).items()}


def quoted(value):
    return f'"{value}"' if "," in value else value


def columns_set_with_blanks(rows):
    width = 22
    return "\n".join("".join(cell.ljust(width) for cell in row).rstrip() for row in rows)


STYLES = {
    "pipes": lambda rows: "\n".join(" | ".join(row) for row in rows),
    "Markdown": lambda rows: "\n".join(
        ["| " + " | ".join(rows[0]) + " |", "|---" * len(rows[0]) + "|"]
        + ["| " + " | ".join(row) + " |" for row in rows[1:]]
    ),
    "Markdown in bold": lambda rows: "\n".join(
        ["| **" + "** | **".join(rows[0]) + "** |", "|:---:" * len(rows[0]) + "|"]
        + ["| " + " | ".join(row) + " |" for row in rows[1:]]
    ),
    "tabs": lambda rows: "\n".join("\t".join(row) for row in rows),
    "semicolons": lambda rows: "\n".join(";".join(row) for row in rows),
    "commas": lambda rows: "\n".join(",".join(map(quoted, row)) for row in rows),
    "commas and quotes": lambda rows: "\r\n".join(",".join(f'"{cell}"' for cell in row) for row in rows),
    "blanks": columns_set_with_blanks,
    "HTML": lambda rows: (
        "<table>"
        + "".join(
            "<tr>" + "".join(f"<t{'d' if at else 'h'}>{cell}</t{'d' if at else 'h'}>" for cell in row) + "</tr>"
            for at, row in enumerate(rows)
        )
        + "</table>"
    ),
    "HTML over lines": lambda rows: (
        "<TABLE>\n"
        + "\n".join("<TR>\n" + "\n".join(f'<TD class="c">{cell}</TD>' for cell in row) + "\n</TR>" for row in rows)
    ),
}


@pytest.fixture(scope="module")
def untagged():
    return Scanner(RedactSettings(name_engine="none"))


@pytest.mark.parametrize("style", STYLES)
def test_cells_are_what_their_header_announces_in_every_kind_of_table(style):
    assert cells(STYLES[style]([HEADERS, *ROWS])) == EXPECTED
    assert cells("The list you asked for:\n\n" + STYLES[style]([HEADERS, *ROWS]) + "\n\nRegards") == EXPECTED


@pytest.mark.parametrize("style", STYLES)
def test_a_korean_table_is_read_alike(style):
    headers = ("예금주", "연락처", "계좌번호", "생년월일", "이체금액")
    rows = (("남궁서윤", "010-7712-0043", "110-482-771930", "91년 3월 7일", "1,200,000원"),)
    assert cells(STYLES[style]([headers, *rows])) == {
        PERSON: ["남궁서윤"], PHONE_NUMBER: ["010-7712-0043"], KR_BANK_ACCOUNT: ["110-482-771930"],
        DATE_OF_BIRTH: ["91년 3월 7일"],
    }  # fmt: skip


@pytest.mark.parametrize("style", STYLES)
def test_a_header_without_rows_is_nothing(style):
    assert cells(STYLES[style]([HEADERS])) == {}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Passport number\nXK4471902", {PASSPORT: ["XK4471902"]}),
        ("면허번호\n\n14-22-771903-55\n", {DRIVER_LICENSE: ["14-22-771903-55"]}),
        ("Account holder      Edith Lamprecht\nAccount no.         754439150",
         {PERSON: ["Edith Lamprecht"], US_BANK_NUMBER: ["754439150"]}),
        ("| Field | Value |\n|---|---|\n| Full name | Edith Lamprecht |\n| Passport no. | XK4471902 |",
         {PERSON: ["Edith Lamprecht"], PASSPORT: ["XK4471902"]}),
        ("surname: Lamprecht, given_names: Edith Ruth", {PERSON: ["Lamprecht", "Edith Ruth"]}),
        ("Last name, first name: Lamprecht, Edith", {PERSON: ["Lamprecht", "Edith"]}),
        ("status=ok\nlicence: 817591511", {DRIVER_LICENSE: ["817591511"]}),
        ("<tr><th>Passport</th><td>XK4471902</td></tr>", {PASSPORT: ["XK4471902"]}),
        ("User,Password\nops1,Tr0ub4dor&3", {SECRET: ["Tr0ub4dor&3"]}),
        ("이름\t주소\n선우현\t세종시 한누리대로 2130", {PERSON: ["선우현"], LOCATION: ["세종시 한누리대로 2130"]}),
        ("Name           Phone           Account no.\nIlse Groot     020 7946 0018   12345678\n"
         "Jo Li                          98765432",
         {PERSON: ["Ilse Groot", "Jo Li"], PHONE_NUMBER: ["020 7946 0018"], US_BANK_NUMBER: ["12345678", "98765432"]}),
        ("Payee;Routing #;BIC\nIlse Groot;021000021;DEUTDEFF500",
         {PERSON: ["Ilse Groot"], ABA_ROUTING_NUMBER: ["021000021"], SWIFT_BIC: ["DEUTDEFF500"]}),
    ],
)  # fmt: skip
def test_forms_and_lists_of_keys(text, expected):
    assert cells(text) == expected


def test_a_swift_message_names_its_parties_and_banks():
    message = (
        "{4:\n:20:REF118\n:32A:261121USD12500,00\n:50K:/8830177264\nEDITH LAMPRECHT\n14 QUAY STREET\nLEEDS\n"
        ":52A:/X1\nNOSCUS33\n:57A:kbcobebb\n:59F:/12345678\n1/ILSE DE GROOT\n2/22 KEIZERSGRACHT\n:70:RENT\n:71A:SHA\n-}"
    )
    assert cells(message) == {
        US_BANK_NUMBER: ["8830177264", "12345678"], PERSON: ["EDITH LAMPRECHT", "ILSE DE GROOT"],
        LOCATION: ["14 QUAY STREET", "22 KEIZERSGRACHT"], SWIFT_BIC: ["NOSCUS33", "kbcobebb"],
    }  # fmt: skip
    assert PERSON not in cells(":59:/12345678\nNORTHERN HARVEST LTD\n1 QUAY STREET")


@pytest.mark.parametrize(
    ("text", "entity"),
    [
        ("Holder,Account No.\nEdith Lamprecht,40177263", US_BANK_NUMBER),
        ("Holder,Account No.\nEdith Lamprecht,110-482-771930", KR_BANK_ACCOUNT),
        ("Holder,Brokerage Account No.\nEdith Lamprecht,40177263", BROKERAGE_ACCOUNT),
        ("Custody statement\nHolder,Account No.\nEdith Lamprecht,40177263", BROKERAGE_ACCOUNT),
        ("이름,계좌번호\n선우현,110482771930", KR_BANK_ACCOUNT),
        ("이름,증권계좌번호\n선우현,40177263-01", BROKERAGE_ACCOUNT),
        ("이름,계좌번호,종목명\n선우현,40177263-01,삼성전자", BROKERAGE_ACCOUNT),
    ],
)
def test_which_account_it_is_is_said_by_header_table_and_grouping(text, entity):
    assert set(cells(text)) == {PERSON, entity}


@pytest.mark.parametrize(
    "text",
    [
        "Account | 2019 | 2018\nCash | 12,300 | 11,200\nReceivables | 45,100 | 39,900",
        "Account | Debit | Credit\nCash | 1,000 |\nRent | | 1,000",
        "Account No. | Account | Debit | Credit\n101000 | Cash | 5,000 |\n201000 | Payables | | 5,000",
        "계정과목,차변,대변\n현금,1000,\n매출,,1000",
        "Name | Page\nIndex | 14\nGrant | 12",
        "Customer | 2019 | 2018\nGeneral Motors | 12% | 10%\nGrant Thornton LLP | 9% | 8%",
        "Customer,Revenue\nToyota Motor,100\nWalmart,200",
        "고객사,매출\n한국전력,1200\n고려아연,900",
        "Product name;Price;Date\nMid Cap Fund;12.50;2019-03-01",
        "Bank | SWIFT fee | Card type\nDeutsche Bank | 12.00 | Visa",
        "Ticker\tName\tPrice\nKO\tCoca Cola\t60.12",
        "Customer\nService improved in the second half.",
        "Name\nDescription\nValue",
        "Phone | Plan\nn/a | basic\n2019-03-01 | basic",
        "Contact number, name and address\nare printed below, see the note on page 12.",
        "Passport | Fee\nStandard | 88.50\nExpress | 142.00",
        "ISIN;Account No.\nUS0378331005;US0378331005",
        "| Birth rate | 2018 | 2019 |\n| Korea | 0.98 | 0.92 |",
        "Dear client,\nthanks, we will call.",
    ],
)
def test_ledgers_prices_pages_and_prose_announce_nobody(text):
    assert cells(text) == {}


def test_names_and_companies():
    for name in ("Petra Vanhoucke", "O'Brien", "Ilse de Groot", "LAMPRECHT, EDITH", "J. Lamprecht", "선우현", "김 님"):
        assert is_person(name, sure=True) == (name != "김 님"), name
    for other in ("Castle Bank", "Total", "Blue Water Energy", "하나은행", "(주)한빛", "번호", "12345", "ann", "-", ""):
        assert not is_person(other, sure=True), other
    assert not is_person("Grant", sure=False) and not is_person("General Motors", sure=False)
    assert is_person("Edith Marlowe", sure=False)


def test_amounts_securities_and_headers_have_not_the_form_of_what_is_announced():
    assert fits(Column(US_BANK_NUMBER, 0), "1,250,000") == ""
    assert fits(Column(US_BANK_NUMBER, 0), "101000") == US_BANK_NUMBER
    assert fits(Column(US_BANK_NUMBER, 0, ledger=True), "101000") == ""
    assert fits(Column(PHONE_NUMBER, 0), "2019-03-01") == ""
    assert fits(Column(DATE_OF_BIRTH, 0), "n/a") == ""
    assert fits(Column(PERSON, 0, sure=True), "Passport no.") == ""


def test_every_header_that_counts_holds_a_word_of_its_gate():
    gates = {kind.ENTITY: prefilter([(kind.GATE, 0)]) for kind in cell_recognizers()}
    headers = (
        *HEADERS, "A/C No.", "Passport #", "Acct. No.", "brokerage_account", "여권번호", "통장 번호", "면허증번호",
        "licenceNo", "cardPan", "IRA number", "SSN", "NI number", "home address", "자택 주소", "pin", "예금주명",
    )  # fmt: skip
    for header in headers:
        entity = entity_of(header)
        if entity:
            for text in (f"{header},x\n1,2", f"x|{header}|y\nz", f"{header}\n1", f"<td>{header}</td>", f"{header}:"):
                assert list(gates[entity].hits(text, 1.0)) == [0], (header, text)


def test_findings_in_disfigured_tables_are_the_same_fast_and_plain():
    chance = random.Random(SEED)
    fast = Scanner(RedactSettings(name_engine="none"))
    plain = Scanner(RedactSettings(name_engine="none"), plain=True)
    fast.prepare()
    forms = [style([HEADERS, *ROWS]) for style in STYLES.values()]
    forms += ["Passport number\nXK4471902", ":59:/12345678\nEDITH LAMPRECHT\n14 QUAY STREET\n:57A:DEUTDEFF",
              "이름\t계좌번호\n선우현\t110482771930", "surname: Lamb, given_names: Edith",
              "Account holder      Edith Lamprecht"]  # fmt: skip
    junk = ("\n", "|", "\t", ";", ",", "  ", "*", "*" * 60, " " * 60, "\r", "'", '"', "<td>", ":", "ſ", "\u200b", "１")
    held = 0
    for _ in range(1500):
        text = chance.choice(forms)
        for _ in range(chance.randint(0, 3)):
            at, to = sorted(chance.choices(range(len(text) + 1), k=2))
            kind = chance.randrange(4)
            if kind == 0:
                text = text[:at] + text[min(to, at + 12) :]
            elif kind == 1:
                text = text[:at] + chance.choice(junk) + text[at:]
            elif kind == 2:
                text = text[:at] + chance.choice(forms)[:40] + text[at:]
            else:
                text = chance.choice((text.upper, text.lower, text.title))()
        found = fast.find(text, "en")[1]
        assert found == plain.find(text, "en")[1], text
        held += bool(found)
    assert held > 700


@pytest.mark.parametrize(
    "unit",
    ["name,", "name|", "name\t", "name\n", "name  ", "name;phone\n", "passport\n1\n", '"name",', '"', '"" ,', "name: ",
     "name: Ann, ", ":59:/1\nANN\n", "<tr><td>name", "<td>", "-" * 9, "----x", "a|b\n", "Name,Phone\nAnn Lee,1\n"],
    ids=ascii,
)  # fmt: skip
def test_reading_is_linear_whatever_is_repeated(unit):
    def seconds(characters):
        text = unit * (characters // len(unit))
        start = time.process_time()
        cells(text)
        return time.process_time() - start

    # The least of three: a pass of the garbage collector over all that other tests keep is no part of it.
    short, long = (min(seconds(size) for _ in range(3)) for size in (20_000, 160_000))
    assert long <= 0.1 + 24 * short


def test_the_pass_ends_when_the_time_is_over():
    def over():
        raise TimeoutError

    with pytest.raises(TimeoutError):
        tables._read("name,phone\n1,2", over)
    hurried = Scanner(RedactSettings(name_engine="none", text_timeout_s=0.001, max_characters=10**7))
    with pytest.raises(AnalysisFailed):
        hurried.find("Name,Phone\n" * 100_000, "en")


def test_a_text_is_read_once_and_the_next_one_anew():
    reader = tables.Reader()
    calls = []
    first, second = "Name,Phone\nIlse Groot,020 7946 0018", "Name,Phone\nEdith Lamprecht,020 7946 0019"
    read = reader.cells(first, lambda: calls.append(1))
    count = len(calls)
    assert count and reader.cells(first, lambda: calls.append(1)) is read and len(calls) == count
    assert reader.cells(second, lambda: calls.append(1)) != read and len(calls) > count


def test_a_table_is_found_by_the_scanner_with_its_own_bounds(untagged):
    text = STYLES["commas"]([HEADERS, *ROWS])
    found = [(item.entity, text[item.start : item.end]) for item in untagged.find(text, "en")[1]]
    assert found == [(entity, EXPECTED[entity][row]) for row in (0, 1) for entity in EXPECTED]


def test_the_packs_own_texts_hold_no_table_of_persons():
    texts = [path.read_text(encoding="utf-8") for path in sorted(PACK.glob("corpus/*.md"))]
    texts += [path.read_text(encoding="utf-8") for path in sorted(PACK.glob("*.csv"))]
    assert sum(map(len, texts)) > 1_000_000
    assert [found for text in texts if (found := cells(text))] == []


def test_tables_of_annual_reports_raise_no_false_alarm_in_any_style(request):
    shared = request.config.getoption("--shared-data", default="")
    path = Path(shared) / "tatqa_dev" / "tatqa_dataset_dev.json"
    if not shared or not path.is_file():
        pytest.skip("needs --shared-data with tatqa_dev")
    documents = json.loads(path.read_text(encoding="utf-8"))
    assert len(documents) > 200
    for style in STYLES.values():
        found = [cells(style(document["table"]["table"])) for document in documents]
        assert not any(entities.keys() - {PERSON} for entities in found)
        # One table lists a company's officers.
        assert sum(bool(entities) for entities in found) <= 1
