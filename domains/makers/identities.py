"""Fresh values of personal data, by seed: what the labelled set and the held-out benchmark are filled with.

Names, addresses, telephone numbers of many countries, cards, IBANs, SSNs, IP and e-mail addresses come from Faker
(https://faker.readthedocs.io); what it has none of is made here with its check digits. Nobody's data: every number is
random, and where a checksum exists it is kept, since a recognizer may rightly ask for it.

It knows nothing of how values are found: it was written without sight of the recognizers.
"""

from __future__ import annotations

import base64
import json
import random
import re
import string
from collections.abc import Callable
from functools import cache
from typing import Any

from domainlm.redact.settings import (
    ABA_ROUTING_NUMBER,
    BROKERAGE_ACCOUNT,
    CREDIT_CARD,
    DATE_OF_BIRTH,
    DRIVER_LICENSE,
    EMAIL_ADDRESS,
    IBAN_CODE,
    IP_ADDRESS,
    KR_BANK_ACCOUNT,
    KR_RRN,
    LOCATION,
    PASSPORT,
    PHONE_NUMBER,
    SECRET,
    SWIFT_BIC,
    UK_NHS,
    UK_NINO,
    US_BANK_NUMBER,
    US_SSN,
)

# Locales and their weight.
ENGLISH_NAMES = {
    "en_US": 9,
    "en_GB": 5,
    "en_IE": 2,
    "en_IN": 2,
    "de_DE": 2,
    "fr_FR": 2,
    "es_ES": 2,
    "it_IT": 1,
    "nl_NL": 1,
    "sv_SE": 1,
    "pl_PL": 1,
    "pt_BR": 1,
    "tr_TR": 1,
}
ENGLISH_ADDRESSES = {"en_US": 9, "en_GB": 5, "en_AU": 2, "en_CA": 2, "en_IN": 1, "de_DE": 1, "fr_FR": 1}
TELEPHONES = {"en_US": 7, "en_GB": 5, "en_CA": 1, "en_AU": 1, "en_IN": 1, "de_DE": 2, "fr_FR": 2}
IBANS = {"de_DE": 5, "en_GB": 5, "fr_FR": 4, "es_ES": 2, "it_IT": 2, "nl_NL": 2, "pl_PL": 1, "de_AT": 1, "de_CH": 1}
CARDS = {"visa16": 6, "mastercard": 6, "amex": 3, "discover": 2, "jcb16": 1, "diners": 1, "visa13": 0.3, "maestro": 0.3}

# Grouping of the account numbers of Korean banks, as printed on their passbooks.
KR_BANKS = {
    "국민은행": ("######-##-######",),
    "신한은행": ("110-###-######", "###-##-######"),
    "우리은행": ("1002-###-######", "###-######-##-###"),
    "하나은행": ("###-910###-#####", "###-######-#####"),
    "농협": ("302-####-####-#1", "###-##-######"),
    "기업은행": ("###-######-##-###", "###-######-01-0##"),
    "카카오뱅크": ("3333-##-#######",),
    "토스뱅크": ("1000-####-####",),
    "새마을금고": ("9002-####-####-#", "9003-####-####-#"),
    "우체국": ("######-##-######",),
    "케이뱅크": ("100-###-######",),
    "SC제일은행": ("###-##-######",),
    "부산은행": ("101-####-####-##",),
    "대구은행": ("508-##-######-#",),
}
RARE_SURNAMES = ("남궁", "황보", "선우", "제갈", "독고", "탁", "피", "금", "옥", "표")
ROMAN_SURNAMES = (
    "Kim",
    "Lee",
    "Park",
    "Choi",
    "Jung",
    "Kang",
    "Cho",
    "Yoon",
    "Jang",
    "Lim",
    "Han",
    "Oh",
    "Seo",
    "Shin",
)
ROMAN_SYLLABLES = ("Min", "Ji", "Seo", "Hyun", "Jun", "Ho", "Soo", "Young", "Eun", "Hye", "Jin", "Woo", "Kyung", "Ah")
ZERO_WIDTH = ("\u200b", "\u200c", "\u2060", "\ufeff")
ALNUM = string.ascii_letters + string.digits


@cache
def _faker(locale: str) -> Any:
    from faker import Faker

    return Faker(locale)


def luhn_digit(body: str) -> str:
    """The digit that makes `body` pass ISO/IEC 7812-1."""
    total = sum(sum(divmod(int(digit) * (2 - index % 2), 10)) for index, digit in enumerate(reversed(body)))
    return str(-total % 10)


class Identities:
    """A stream of fresh values.

    Args:
        seed: equal seeds give equal streams.
        disturb: share of structured values that are written in an unusual way (full-width digits, zero-width
            characters between digits, unusual hyphens).
    """

    def __init__(self, seed: int, disturb: float = 0.12) -> None:
        self.random = random.Random(seed)
        self.disturb = disturb
        self._makers: dict[str, Callable[[str, str], str]] = {
            EMAIL_ADDRESS: self._email,
            PHONE_NUMBER: self._phone,
            IP_ADDRESS: self._ip,
            CREDIT_CARD: self._card,
            IBAN_CODE: self._iban,
            SWIFT_BIC: self._bic,
            US_BANK_NUMBER: self._us_account,
            ABA_ROUTING_NUMBER: self._routing,
            KR_BANK_ACCOUNT: self._kr_account,
            BROKERAGE_ACCOUNT: self._brokerage,
            US_SSN: self._ssn,
            KR_RRN: self._rrn,
            UK_NHS: self._nhs,
            UK_NINO: self._nino,
            PASSPORT: self._passport,
            DRIVER_LICENSE: self._licence,
            DATE_OF_BIRTH: self._birth,
            SECRET: self._secret,
            LOCATION: self._address,
        }

    def draw(self, entity: str, language: str, style: str = "") -> str:
        """A fresh value of an entity other than PERSON, as somebody might have written it."""
        value = self._makers[entity](language, style)
        if entity not in (EMAIL_ADDRESS, SECRET, LOCATION, IP_ADDRESS) and self.random.random() < self.disturb:
            value = self._disturbed(value)
        return value

    def name(self, language: str, style: str = "") -> tuple[str, str]:
        """First name and surname. Styles: ko_roman, foreign."""
        pick = self.random
        if style == "ko_roman":
            first = pick.choice(ROMAN_SYLLABLES) + pick.choice(("-{}", "{}", " {}")).format(
                pick.choice(ROMAN_SYLLABLES).lower()
            )
            return first.title() if pick.random() < 0.3 else first, pick.choice(ROMAN_SURNAMES)
        if language == "ko" and style != "foreign":
            fake = self.fake("ko_KR")
            surname = pick.choice(RARE_SURNAMES) if pick.random() < 0.04 else fake.last_name()
            return fake.first_name(), surname
        fake = self.fake(self._weighted(ENGLISH_NAMES))
        return fake.first_name(), fake.last_name()

    # -- helpers

    def fake(self, locale: str) -> Any:
        """Faker of a locale, at a fresh place of the stream."""
        fake = _faker(locale)
        fake.seed_instance(self.random.getrandbits(48))
        return fake

    def _weighted(self, weights: dict[str, Any]) -> str:
        return self.random.choices(list(weights), list(weights.values()))[0]

    def digits(self, count: int) -> str:
        """Random digits."""
        return "".join(self.random.choices(string.digits, k=count))

    def pattern(self, form: str) -> str:
        """`form` with # as a digit and @ as a capital letter."""
        return "".join(
            self.random.choice(string.digits)
            if sign == "#"
            else self.random.choice(string.ascii_uppercase)
            if sign == "@"
            else sign
            for sign in form
        )

    def _disturbed(self, value: str) -> str:
        kind = self.random.choice(("wide", "zero", "hyphen"))
        if kind == "wide":
            return "".join(chr(ord(sign) + 0xFEE0) if sign in string.digits else sign for sign in value)
        if kind == "zero":
            place = self.random.randrange(1, len(value))
            return value[:place] + self.random.choice(ZERO_WIDTH) + value[place:]
        return re.sub(" *- *", self.random.choice(("\u2011", "\u2013", "\u2010", " - ")), value)

    def _grouped(self, value: str, *sizes: int, separators: str = " -") -> str:
        parts, start = [], 0
        for size in sizes:
            parts.append(value[start : start + size])
            start += size
        return self.random.choice(separators).join(parts)

    # -- the values

    def _email(self, language: str, style: str) -> str:
        pick = self.random
        first, last = self.name("en", "ko_roman" if language == "ko" and pick.random() < 0.7 else "")
        fake = self.fake("en_US")
        if pick.random() < 0.45:
            return fake.email() if pick.random() < 0.5 else fake.company_email()
        plain = {"first": _ascii(first) or "info", "last": _ascii(last) or "office", "n": pick.randrange(1, 99)}
        local = pick.choice(("{first}.{last}", "{first}_{last}", "{first}{n}", "{first}.{last}+bank", "{last}-{n}"))
        hosts = (
            "gmail.com",
            "naver.com",
            "hanmail.net",
            "outlook.com",
            "example.co.uk",
            "mail.example.co.kr",
            "web.de",
        )
        return local.format(**plain) + "@" + pick.choice(hosts)

    def _phone(self, language: str, style: str) -> str:
        import phonenumbers

        pick = self.random
        if language == "ko":
            forms = (
                "010-####-####",
                "010-####-####",
                "010-####-####",
                "010 #### ####",
                "010########",
                "010.####.####",
                "+82 10-####-####",
                "+82-10-####-####",
                "02-###-####",
                "02-2###-####",
                "031-###-####",
                "070-####-####",
                "02)7##-####",
                "051) ###-####",
                "010-####–####",
            )
            return _no_zero_group(self.pattern(pick.choice(forms)), pick)
        if pick.random() < 0.3:
            forms = (
                "(212) 555-0###",
                "+1 (646) 555-01##",
                "415.555.0###",
                "+1-312-555-0###",
                "07700 900###",
                "+44 7700 900###",
                "020 7946 0###",
                "+44 (0)20 7946 0###",
                "+82 10-#2##-####",
                "+82-2-7##-####",
                "+49 151 2#######",
                "+33 6 1# ## ## ##",
                "+65 9### ####",
                "+852 5### ####",
                "+91 98### #####",
                "+61 4## ### ###",
                "0044 7700 900###",
                "1-800-555-0###",
                "646 555 0### ext. ###",
                "2125550###",
            )
            return self.pattern(pick.choice(forms))
        while True:
            locale = self._weighted(TELEPHONES)
            value: str = self.fake(locale).phone_number()
            try:
                number = phonenumbers.parse(value, locale[3:])
            except phonenumbers.NumberParseException:
                continue
            if phonenumbers.is_possible_number(number) and sum(sign.isdigit() for sign in value) >= 9:
                return value

    def _ip(self, language: str, style: str) -> str:
        fake = self.fake("en_US")
        kind = self.random.random()
        value = fake.ipv4_public() if kind < 0.55 else fake.ipv4_private() if kind < 0.8 else fake.ipv6()
        return str(value)

    def _card(self, language: str, style: str) -> str:
        value = self.fake("en_US").credit_card_number(self._weighted(CARDS))
        sizes = {16: (4, 4, 4, 4), 15: (4, 6, 5), 14: (4, 6, 4), 13: (4, 4, 5), 12: (4, 4, 4)}[len(value)]
        kind = self.random.random()
        if kind < 0.3:
            return str(value)
        return self._grouped(value, *sizes, separators="--  " if kind < 0.93 else ".\u00a0")

    def _iban(self, language: str, style: str) -> str:
        value: str = self.fake(self._weighted(IBANS)).iban()
        kind = self.random.random()
        if kind < 0.5:
            return value
        grouped = " ".join(value[index : index + 4] for index in range(0, len(value), 4))
        return grouped if kind < 0.9 else grouped.replace(" ", "-") if kind < 0.94 else value.lower()

    def _bic(self, language: str, style: str) -> str:
        pick = self.random
        banks = ("DEUT", "BARC", "HSBC", "CHAS", "BNPA", "SOGE", "COBA", "KOEX", "CZNB", "SHBK", "HVBK", "NACF", "UBSW")
        bank = pick.choice(banks) if pick.random() < 0.6 else self.pattern("@@@@")
        country = pick.choice(("DE", "GB", "US", "FR", "KR", "CH", "IT", "NL", "ES", "SG", "HK", "JP", "AT", "LU"))
        place = pick.choice(("FF", "2L", "33", "PP", "SE", "22", "MM", "3X", "80", "S1", "LL", "2A", "6S"))
        branch = pick.choice(("", "", "XXX", "XXX", "500", "HAM", "KRS"))
        value = bank + country + place + branch
        return value if pick.random() < 0.95 else value.lower()

    def _us_account(self, language: str, style: str) -> str:
        form = self.random.choice(("########", "#########", "##########", "############", "####-######", "##### #####"))
        return _first_not_zero(self.pattern(form), self.random)

    def _routing(self, language: str, style: str) -> str:
        prefix = self.random.choice((*range(1, 13), *range(21, 33)))  # Federal Reserve districts and thrifts
        body = f"{prefix:02}" + self.digits(6)
        weighted = sum(int(digit) * weight for digit, weight in zip(body, (3, 7, 1, 3, 7, 1, 3, 7), strict=True))
        return body + str(-weighted % 10)

    def _kr_account(self, language: str, style: str) -> str:
        form = self.random.choice(KR_BANKS.get(style) or self.random.choice(list(KR_BANKS.values())))
        value = _first_not_zero(self.pattern(form), self.random)
        kind = self.random.random()
        return value if kind < 0.75 else value.replace("-", "") if kind < 0.9 else value.replace("-", " ")

    def _brokerage(self, language: str, style: str) -> str:
        if style == "ko" or language == "ko":
            forms = ("########-01", "###-##-######", "####-####-01", "###-####-####-0", "##########", "########01")
        else:
            forms = (
                "Z##-######",
                "####-####",
                "U#######",
                "X########",
                "###-#####",
                "########",
                "#@@-#####",
                "DU#######",
            )
        return _first_not_zero(self.pattern(self.random.choice(forms)), self.random)

    def _ssn(self, language: str, style: str) -> str:
        value: str = self.fake("en_US").ssn()
        kind = self.random.random()
        return value if kind < 0.75 else value.replace("-", " ") if kind < 0.88 else value.replace("-", ".")

    def _rrn(self, language: str, style: str) -> str:
        """A Korean resident (or foreign resident) number with its check digit, for births before the reform of 2020."""
        pick = self.random
        year = pick.randrange(1945, 2019)
        birth = f"{year % 100:02}{pick.randrange(1, 13):02}{pick.randrange(1, 29):02}"
        kind = pick.choice((1, 2)) if year < 2000 else pick.choice((3, 4))
        kind += 4 if pick.random() < 0.08 else 0
        body = birth + str(kind) + f"{pick.randrange(0, 96):02}" + self.digits(3)
        total = sum(
            int(digit) * weight for digit, weight in zip(body, (2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5), strict=True)
        )
        check = (11 - total % 11) % 10 if kind < 5 else (13 - total % 11) % 10
        value = body + str(check)
        form = pick.random()
        return (
            f"{value[:6]}-{value[6:]}"
            if form < 0.75
            else value
            if form < 0.88
            else f"{value[:6]} {value[6:]}"
            if form < 0.94
            else f"{value[:6]} - {value[6:]}"
        )

    def _nhs(self, language: str, style: str) -> str:
        while True:
            body = str(self.random.randrange(4, 8)) + self.digits(8)
            check = 11 - sum(int(digit) * weight for digit, weight in zip(body, range(10, 1, -1), strict=True)) % 11
            if check != 10:
                value = body + str(check % 11)
                return value if self.random.random() < 0.3 else self._grouped(value, 3, 3, 4, separators="  -")

    def _nino(self, language: str, style: str) -> str:
        pick = self.random
        letters = "ABCEGHJKLMNPRSTWXYZ"
        while True:
            prefix = pick.choice(letters) + pick.choice(letters.replace("O", ""))
            if prefix not in ("BG", "GB", "NK", "KN", "TN", "NT", "ZZ"):
                break
        value = prefix + self.digits(6) + pick.choice("ABCD")
        kind = pick.random()
        if kind < 0.4:
            return value
        grouped = f"{value[:2]} {value[2:4]} {value[4:6]} {value[6:8]} {value[8]}"
        return grouped if kind < 0.9 else grouped.replace(" ", "-") if kind < 0.95 else value.lower()

    def _passport(self, language: str, style: str) -> str:
        if language == "ko":
            forms = ("M########", "M###@####", "M########", "S########", "PM#######")
        else:
            forms = ("#########", "@########", "#########", "C01@0#@##", "##@@#####", "@@#######", "M###@####")
        return _first_not_zero(self.pattern(self.random.choice(forms)), self.random)

    def _licence(self, language: str, style: str) -> str:
        pick = self.random
        if language == "ko":
            region = pick.choice((11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 28))
            value = self.pattern(f"{region}-##-######-##")
            return (
                value
                if pick.random() < 0.85
                else value.replace("-", "")
                if pick.random() < 0.5
                else (value.replace("-", " "))
            )
        if pick.random() < 0.3:  # United Kingdom, DVLA: five letters of the surname, birth coded, initials, check
            surname = pick.choice(("MORGA", "SMITH", "JONES", "KHAN9", "PATEL", "TAYLO", "EVANS", "WILLI"))
            month = pick.randrange(1, 13) + pick.choice((0, 50))
            return self.pattern(f"{surname}#{month:02}{pick.randrange(1, 29):02}#@@9@@")
        forms = (
            "@#######",
            "### ### ###",
            "########",
            "@###-####-####",
            "@###-###-##-###-#",
            "@############",
            "@##-##-####",
            "#########",
        )
        return _first_not_zero(self.pattern(pick.choice(forms)), pick)

    def _birth(self, language: str, style: str) -> str:
        pick = self.random
        year, month, day = pick.randrange(1938, 2006), pick.randrange(1, 13), pick.randrange(1, 29)
        name = ("January February March April May June July August September October November December").split()[
            month - 1
        ]
        if language == "ko":
            forms = (
                f"{year}년 {month}월 {day}일",
                f"{year}.{month:02}.{day:02}",
                f"{year}-{month:02}-{day:02}",
                f"{year % 100:02}{month:02}{day:02}",
                f"{year}{month:02}{day:02}",
                f"{year}. {month}. {day}.",
                f"{year % 100:02}년 {month}월 {day}일",
                f"{year}/{month:02}/{day:02}",
            )
        else:
            forms = (
                f"{month:02}/{day:02}/{year}",
                f"{day:02}/{month:02}/{year}",
                f"{year}-{month:02}-{day:02}",
                f"{day} {name} {year}",
                f"{name} {day}, {year}",
                f"{day:02}.{month:02}.{year}",
                f"{day}-{name[:3]}-{year}",
                f"{month}/{day}/{year % 100:02}",
                f"{name[:3]} {day} {year}",
            )
        return pick.choice(forms)

    def _secret(self, language: str, style: str) -> str:
        pick = self.random
        if style == "aws":
            return "AKIA" + "".join(pick.choices(string.ascii_uppercase + "234567", k=16))
        if style == "github":
            return pick.choice(("ghp_", "gho_", "ghs_")) + "".join(pick.choices(ALNUM, k=36))
        if style == "jwt":
            head = _base64url({"alg": pick.choice(("HS256", "RS256")), "typ": "JWT"})
            body = _base64url({"sub": self.digits(10), "iat": 1700000000 + pick.randrange(10**7)})
            return f"{head}.{body}." + "".join(pick.choices(ALNUM + "-_", k=43))
        if style == "token":
            kind = pick.randrange(4)
            if kind == 0:
                return "".join(pick.choices("0123456789abcdef", k=pick.choice((32, 40, 64))))
            prefix = ("", "key-", "tok_")[kind - 1]
            return prefix + "".join(pick.choices(ALNUM, k=pick.choice((24, 32, 40))))
        words = (
            "winter",
            "Summer",
            "trader",
            "Seoul",
            "ledger",
            "Banana",
            "zebra",
            "Falcon",
            "letmein",
            "coffee",
            "Var99",
        )
        kind = pick.randrange(3)
        if kind == 0:
            return pick.choice(words) + self.digits(pick.choice((2, 4))) + pick.choice("!$%*")
        if kind == 1:
            return pick.choice(words) + pick.choice("-_") + pick.choice(words) + self.digits(2)
        return "".join(pick.choices(ALNUM + "!$%*-_", k=pick.randrange(9, 17))) + pick.choice(ALNUM)

    def _address(self, language: str, style: str) -> str:
        pick = self.random
        if language == "ko":
            value: str = self.fake("ko_KR").address().replace("\n", " ")
            kind = pick.random()
            if kind < 0.35:
                value += f", {pick.randrange(101, 120)}동 {pick.randrange(1, 25)}{pick.randrange(1, 9):02}호"
            elif kind < 0.55:
                place = pick.choice(
                    (
                        "서울시 마포구 합정동",
                        "경기 용인시 수지구 죽전동",
                        "부산광역시 해운대구 우동",
                        "대전 서구 둔산동",
                    )
                )
                value = f"{place} {pick.randrange(1, 900)}-{pick.randrange(1, 99)}"
            return value
        lines = self.fake(self._weighted(ENGLISH_ADDRESSES)).address()
        lines = "\n".join(line.strip() for line in lines.splitlines())
        return str(lines if style == "lines" else lines.replace("\n", ", "))


def _ascii(name: str) -> str:
    return "".join(sign for sign in name.lower() if sign in string.ascii_lowercase)


def _base64url(value: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def _first_not_zero(value: str, pick: random.Random) -> str:
    return str(pick.randrange(1, 10)) + value[1:] if value[0] == "0" else value


def _no_zero_group(value: str, pick: random.Random) -> str:
    """Subscriber numbers in Korea start with 2 to 9."""
    return re.sub(r"(?<=[-. )])[01](?=\d{2,3}[-.\u2013 ])", lambda _: str(pick.randrange(2, 10)), value)
