"""Surrogates: invented values of the same kind and form, for texts that must stay natural. No real person is hit.

Which one a value gets is chosen by HMAC under the key, so that one value has one surrogate in every record, and nobody
without the key can tell which. Inside a record two values never share one, nor does one equal anything that stands in
the record: then, and only then, the later value gets its next choice, or none if there is nothing left to choose.

Where the numbers come from: telephone numbers kept free for films (555-0100 to 0199, NANPA; Ofcom's and the
Bundesnetzagentur's lists; ARCEP, decision 2018-0881) or that no plan assigns (Korean exchanges do not begin with 0);
hosts of RFC 2606; addresses of RFC 5737, 3849 and 2544; cards of the networks' test ranges that also fail their check
digit; IBANs, routing and NHS numbers that fail theirs; social security numbers of area 666, insurance numbers of prefix
QQ, resident registration numbers of days above 31, BICs of the user-assigned country ZZ (ISO 3166).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence

from domainlm.keys import KeyRing
from domainlm.redact.settings import (
    ABA_ROUTING_NUMBER,
    CREDIT_CARD,
    DATE_OF_BIRTH,
    EMAIL_ADDRESS,
    IBAN_CODE,
    IP_ADDRESS,
    KR_RRN,
    LOCATION,
    PERSON,
    PHONE_NUMBER,
    SECRET,
    SWIFT_BIC,
    UK_NHS,
    UK_NINO,
    US_SSN,
)

USE = "surrogate"
_MOST_CHOICES = 400
_MOST_SHARED = 6  # characters in a row, such as 555-01x or the prefix of a test card
_DIGITS_ALONE = (CREDIT_CARD, ABA_ROUTING_NUMBER, US_SSN, KR_RRN, UK_NHS)
_WORD = re.compile(r"[^\W\d_]+")
_UPPER, _LOWER = "ABCDEFGHJKLMNPQRSTUVWXYZ", "abcdefghjkmnpqrstuvwxyz"

_GIVEN = (
    "Adela Alban Aldous Alma Althea Amos Anneliese Ansel Arden Ariadne Asa Aubrey Augusta Barnaby Beatrix Benedict"
    " Blythe Bram Bridget Caius Calista Callum Camilla Cassius Cecily Cedric Clara Clement Clover Conrad Constance"
    " Cordelia Cosima Crispin Cyrus Dahlia Damaris Darcy Delia Desmond Dinah Dorian Edith Edmund Effie Elgar Elinor"
    " Eliza Elspeth Emeline Emrys Enid Esme Eugenia Evander Fabian Faye Felicity Fenella Fergus Flora Florian Freda"
    " Gareth Gemma Gideon Gilbert Giselle Greta Griffin Guinevere Gwendolyn Hadrian Harriet Hattie Hector Hester"
    " Honor Horatio Hugo Ianthe Idris Imogen Ines Isadora Ivo Jasper Jemima Jocasta Jolyon Juno Juliana Kester Kitty"
    " Lavinia Leander Leopold Lettice Lorna Lucian Ludo Lysander Mabel Magnus Marcella Marius Maud Merryn Millicent"
    " Minerva Montague Morwenna Myrtle Nerys Nestor Nora Octavia Odette Olwen Orlando Orson Oswin Ottilie Peregrine"
    " Perpetua Petra Phineas Phoebe Piers Primrose Quentin Ramona Rhoda Roderick Romilly Rosamund Rowena Rufus Rupert"
    " Sabina Selwyn Seraphina Silas Sybil Tabitha Tamsin Tarquin Thaddeus Theodora Tobias Ulric Ursula Valentine"
    " Verity Vesper Viola Waldo Wilfrid Winifred Xanthe Yolande Zelda Zenobia"
).split()
_FAMILY = (
    "Abernath Addlestone Aldermere Alderwick Allardyce Ambersley Amersley Anstruther Applegarth Arkwell"
    " Ashcombe Ashdene Atherley Aylward Backhurst Balcombe Bannerdale Barrowby Bassingham Beckinsdale"
    " Bellweather Benfleet Birkenshaw Blackwold Blakemere Bramhurst Brandreth Braxholm Bridlow Brightmore"
    " Brockhurst Bromwell Buckthorne Burnaston Cadwallen Calderby Calloway Cardwick Carrowmore Castellan"
    " Chadbourne Chalfont Charlwood Chetwynd Claverdon Cliffington Coldharbour Colebrook Coppinger Corscombe"
    " Cowdray Cranleigh Crosthwaite Culverwell Dalrymple Danforth Darnley Dawlish Delamere Denholm Derwentham"
    " Dinsdale Dorrington Drakeford Dunmore Durnford Eastleigh Eddowes Edgeworth Elmhirst Elvaston Enderwick"
    " Everdene Fairclough Falconbridge Farnaby Felbrigg Fenwick Fernyhough Finchley Fitzalan Fothergill Foxcote"
    " Frobisher Garrowby Gatacre Gillingham Glanville Goldsworth Grantley Greystoke Grimshaw Haddonfield"
    " Halliwell Hambledon Harcastle Hartigan Haversham Hawksworth Hazelrigg Heathcote Hembury Hepplewhite"
    " Hesketh Hinchcliffe Hollingworth Holmwood Honeychurch Hornsea Huntingdale Illingworth Inglethorpe Inkpen"
    " Ivybridge Jellicoe Jessamy Kelmscott Kenilham Kestrelman Kirkbride Knaresby Lambourne Langridge Larkham"
    " Latimer Launceston Lavenham Ledbury Leverton Lindqvist Loxley Luttrell Lyndhurst Lytham Maddocks Malmesby"
    " Mapledurham Marchbanks Marlowe Massingberd Mauleverer Melbury Merriweather Mickleham Middlemarch"
    " Milbourne Montacute Moorcroft Mordaunt Mowbray Musgrave Nettleship Newbolt Norbury Northcliff Oakeshott"
    " Oldcastle Orpington Osgathorpe Otterburn Oxenford Padstow Pakenham Palgrave Parminter Peasgood Pemberley"
    " Penhaligon Pettigrew Pilkington Plumtree Polwhele Postlethwaite Prestbury Quarrington Quillfeather"
    " Radclyffe Rainsford Ravensdale Redfern Ridgeway Rockingham Rossendale Rushbrook Rycroft Saltmarsh"
    " Sandringham Scattergood Selbourne Shackleford Sherborne Shufflebot Silverdale Skelmers Snowdrop Somerton"
    " Southwell Stallybrass Stavely Stoddart Strickland Summerhayes Swinbrook Tattersall Templeton Thackray"
    " Thistlewood Thornbury Tidmarsh Tolliver Trelawney Trevelyan Truscott Tunstall Twelvetrees Uffington"
    " Underhill Upcott Vavasour Verrinder Wadham Wainfleet Walsingham Warboys Waverton Wedderburn Wensley"
    " Westerham Wetherby Whitbourne Wickersham Wigmore Willoughby Winterbourne Wolstenholme Woodhouselee"
    " Wraxall Wycliffe Yarborough Yelverton"
).split()
# Romanised Korean names are answered with such.
_ROMAN_FAMILY = (
    "Kim Lee Park Choi Jung Kang Cho Yoon Jang Lim Han Oh Seo Shin Kwon Hwang Ahn Song Ryu Hong Jeon Moon Yang Son Bae"
    " Baek Heo Nam Noh Ha Kwak Sung Cha Joo Woo Koo Min Jin"
).split()
_ROMAN_SYLLABLES = (
    "Seo Ji Min Ha Ye Su Yu Do Eun Jun Woo Hyun Jin Young Chae Da Na Ra Bin Won Hee Kyung Sang Tae Jae Ho Seung In Ah"
    " Rin"
).split()
_KOREAN_FAMILY = "김이박최정강조윤장임한오서신권황안송류전홍고문양손배백허남심노하곽성차주우구민진지엄채원"
_KOREAN_COMPOUND = ("남궁", "황보", "제갈", "선우", "독고", "사공", "서문")
_KOREAN_FIRST = "서지민하예수유도은준우현진영채다나라빈원희경상태재호승인아린규동소가보세시연윤정주찬"
_KOREAN_LAST = "서지민하예수유은준우현진영채나라빈원희경태재호승인아린규소연윤정주찬혁석훈율솔온결람별"
_STEMS = (
    "Alder Amber Ash Beech Birch Bramble Brook Cedar Chalk Cherry Clover Copper Curlew Dale Elder Elm Fallow Fern Flint"
    " Fox Gorse Hazel Heather Heron Holly Ivy Juniper Kestrel Lark Laurel Lilac Linden Maple Marl Meadow Mill Moss"
    " Myrtle Oak Otter Pebble Pine Plover Poplar Quarry Reed Rowan Rush Sage Sedge Sorrel Spruce Stone Swift Teal Thorn"
    " Tulip Vale Willow Wren"
).split()
_STEM_ENDS = ("bury", "combe", "croft", "dene", "field", "ford", "gate", "ham", "hurst", "ley", "mere", "moor", "wick")
_KOREAN_STEMS = (
    "가람 가온 나래 누리 늘봄 다온 달빛 도담 두리 라온 마루 물빛 미르 바람 별빛 보람 봄내 새길"
    " 새봄 샘터 솔빛 솔향 아람 아름 여울 연꽃 온누리 은빛 이든 푸른 하늘 하람 한결 한별 한빛 해든"
    " 해솔 햇살 행복 희망"
).split()
_KOREAN_PLACE = re.compile(
    "([가-힣]{1,8}?)(특별자치시|특별시|광역시|대로|로|길|동|읍|면|리|구|군|시|도|아파트|빌라|타워)"
)
# What kind of street or place it is, or a word that belongs to every address: it stays.
_PLACE_KIND = frozenset(
    "street st road rd avenue ave lane ln drive dr court ct close way place pl boulevard blvd square sq"
    " terrace crescent cres gardens grove park highway hwy parkway pkwy circle cir row mews apartment apt suite"
    " ste unit floor flat room building bldg north south east west n s e w ne nw se sw po box no the of at and"
    " straße strasse str platz weg allee rue avenue place quai chemin route de la le du des via viale piazza"
    " corso calle plaza paseo laan straat gil ro daero dong gu si do".split()
)
_MONTHS = (
    "january february march april may june july august september october november december".split(),
    "jan feb mar apr may jun jul aug sep oct nov dec".split(),
)
# Kept free for drama: Ofcom, "Telephone numbers for use in TV and radio drama programmes".
_UK_MOBILE = ("07700 900",)
_UK_OTHER = (
    "020 7946 0", "0113 496 0", "0114 496 0", "0115 496 0", "0116 496 0", "0117 496 0", "0118 496 0", "0121 496 0",
    "0131 496 0", "0141 496 0", "0151 496 0", "0161 496 0", "0191 498 0", "029 2018 0", "01632 960", "03069 990",
)  # fmt: skip
# ARCEP keeps these free for audiovisual works; four digits follow.
_FRENCH = ("01 99 00", "02 61 91", "03 53 01", "04 65 71", "05 36 49", "06 39 98")
# Bundesnetzagentur, numbers for drama; three digits follow.
_GERMAN = ("030 23125", "069 90009", "040 66969", "0221 4710", "089 99998")
_EXTENSION = re.compile(r"[ ,]{0,2}(?:ext\.?|extension|x)[ ]?\d{1,6}$", re.IGNORECASE)
_CARD_PREFIX = {"4": "400000", "5": "555555", "2": "222300", "6": "601111", "9": "941000"}


class Draws:
    """Choices that follow from a seed, alike on every machine and in every version of Python.

    Args:
        seed: 32 bytes.
    """

    def __init__(self, seed: bytes) -> None:
        self._seed, self._count = seed, 0

    def below(self, limit: int) -> int:
        """A number from 0 to limit - 1; the bias of 64 bits modulo a few thousand is beneath notice."""
        self._count += 1
        drawn = hashlib.sha256(self._seed + self._count.to_bytes(4, "big")).digest()
        return int.from_bytes(drawn[:8], "big") % limit

    def pick(self, pool: Sequence[str]) -> str:
        """One of a pool."""
        return pool[self.below(len(pool))]

    def digits(self, count: int) -> str:
        """So many digits, leading zeros included."""
        return "".join(str(self.below(10)) for _ in range(count))


class Surrogates:
    """The surrogates of one record.

    Args:
        keys: whose secret chooses.
        texts: all texts of the record; what stands in them is given to nobody.
        regions: countries whose telephone numbers are known.
    """

    def __init__(self, keys: KeyRing, texts: Iterable[str], regions: tuple[str, ...]) -> None:
        self.keys, self.regions = keys, regions
        joined = "\n".join(texts).casefold()
        self._words = frozenset(_WORD.findall(joined))
        self._plain = _comparable(joined)
        self._owner: dict[str, tuple[str, str]] = {}
        self._given: dict[tuple[str, str], str | None] = {}

    def of(self, entity: str, value: str, normalised: str) -> str | None:
        """The surrogate of a value; None where none is left that is free.

        Args:
            entity: what it is.
            value: its plain spelling, whose form the surrogate takes.
            normalised: its one spelling, which decides: variants of a value have one surrogate.
        """
        key = entity, normalised
        if key not in self._given:
            self._given[key] = self._choose(entity, value, normalised)
        return self._given[key]

    def _choose(self, entity: str, value: str, normalised: str) -> str | None:
        make = _MAKERS.get(entity, _account)
        if entity in _DIGITS_ALONE and any(character.isalpha() and character not in "xX" for character in value):
            make = _account
        for choice in range(_MOST_CHOICES):
            draws = Draws(self.keys.mac(USE, entity, normalised, str(choice)))
            if entity == PHONE_NUMBER:
                made, identity = _telephone(value, self.regions, draws)
            else:
                made = make(value, draws, choice) if entity == PERSON else make(value, draws)
                identity = _comparable(made.casefold())
            if identity and self._free(entity, normalised, made, identity):
                self._owner[identity] = entity, normalised
                return made
        return None

    def _free(self, entity: str, normalised: str, made: str, identity: str) -> bool:
        if entity not in (LOCATION, DATE_OF_BIRTH) and _shared(normalised, made):
            return False
        if self._owner.get(identity, (entity, normalised)) != (entity, normalised):
            return False
        if entity == PERSON and any(len(word) > 1 and word in self._words for word in _WORD.findall(made.casefold())):
            return False
        # A telephone number's identity has a country's digits that its spelling may lack.
        return (identity if entity != PHONE_NUMBER else _comparable(made)) not in self._plain


def _comparable(text: str) -> str:
    return "".join(character for character in text if character.isalnum() or character == "\n")


def _shared(value: str, made: str) -> bool:
    """Whether a surrogate kept its value, or seven characters of it in a row."""
    value, made = _comparable(value.casefold()), _comparable(made.casefold())
    return (len(value) > 2 and value in made) or any(
        value[at : at + _MOST_SHARED + 1] in made for at in range(len(value) - _MOST_SHARED)
    )


def part_of_name(surrogate: str, value: str, part: str) -> str:
    """What stands for a part of a name: `Fenwick` for `Smith`, where `Clara Fenwick` stands for `John Smith`.

    Args:
        surrogate: of the whole name.
        value: the whole name.
        part: what stands in the text.
    """
    words, given = value.casefold().split(), surrogate.split()
    if len(words) < 2 or len(given) < 2 or part.casefold() not in words or part.casefold() == value.casefold():
        return surrogate
    return given[0] if part.casefold() == words[0] else given[-1] if part.casefold() == words[-1] else surrogate


def _name(value: str, draws: Draws, choice: int) -> str:
    if any("가" <= character <= "힣" for character in value):
        return _korean_name(value, draws, choice)
    words = value.split()
    plain = [word.strip(".,").casefold() for word in words]
    roman = {name.casefold() for name in _ROMAN_FAMILY}
    if len(words) > 1 and (plain[-1] in roman or plain[0] in roman):
        given = f"{draws.pick(_ROMAN_SYLLABLES)}-{draws.pick(_ROMAN_SYLLABLES).lower()}"
        family = draws.pick(_ROMAN_FAMILY)
        made = [given, family] if plain[-1] in roman else [family, given]
    elif len(words) < 2:
        # One word is a family name as a rule; two of them, once the simple ones are taken.
        made = [draws.pick(_FAMILY) + (f"-{draws.pick(_FAMILY)}" if choice > 7 else "")]
    else:
        given = draws.pick(_GIVEN)
        initial = len(plain[0]) == 1
        middle = [f"{draws.pick(_UPPER)}."] if len(words) > 2 else []
        family = draws.pick(_FAMILY) + (f"-{draws.pick(_FAMILY)}" if choice > (7 if not initial else 3) else "")
        made = [f"{given[0]}." if initial else given, *middle, family]
    name = " ".join(made)
    return name.upper() if value.isupper() and len(value) > 2 else name.lower() if value.islower() else name


def _korean_name(value: str, draws: Draws, choice: int) -> str:
    letters = sum("가" <= character <= "힣" for character in value)
    family = draws.pick(_KOREAN_COMPOUND) if letters == 4 else draws.pick(_KOREAN_FAMILY)
    given = draws.pick(_KOREAN_FIRST) + (draws.pick(_KOREAN_LAST) if letters != 2 or choice > 15 else "")
    return f"{family} {given}" if " " in value.strip() else family + given


def _email(value: str, draws: Draws) -> str:
    host = draws.pick(("example.com", "example.org", "example.net"))
    return f"{draws.pick(_GIVEN).lower()}.{draws.pick(_FAMILY).lower()}{draws.digits(2)}@{host}"


def _ip(value: str, draws: Draws) -> str:
    if ":" in value:
        return "2001:db8:" + ":".join(f"{draws.below(65536):x}" for _ in range(6))
    # The three networks for documentation hold 762 hosts; the one for benchmarks 131,070.
    net = draws.pick(("192.0.2", "198.51.100", "203.0.113", f"198.18.{draws.below(256)}", f"198.19.{draws.below(256)}"))
    return f"{net}.{1 + draws.below(254)}"


def _card(value: str, draws: Draws) -> str:
    count = sum(character.isdigit() for character in value)
    if count < 12:  # half of it is starred out
        return _laid(value, draws.digits(count))
    first = next(character for character in value if character.isdigit())
    prefix = _CARD_PREFIX.get(first) or {15: "378282", 14: "305693"}.get(count, "356600")
    body = prefix + draws.digits(count - len(prefix) - 1)
    right = -sum(sum(divmod(int(digit) * (2 - place % 2), 10)) for place, digit in enumerate(reversed(body))) % 10
    return _laid(value, f"{body}{(right + 1 + draws.below(9)) % 10}")


def _iban(value: str, draws: Draws) -> str:
    old = "".join(character for character in value if character.isalnum()).upper()
    if not old.isascii():
        return _account(value, draws)
    body = _same_classes(old[4:], draws)
    right = 98 - int("".join(str(int(character, 36)) for character in f"{body}{old[:2]}00")) % 97
    wrong = 2 + (right - 2 + 1 + draws.below(96)) % 97
    characters = iter(f"{old[:2]}{wrong:02d}{body}")
    return "".join(next(characters, "") if character.isalnum() else character for character in value)


def _bic(value: str, draws: Draws) -> str:
    made = "".join(_UPPER[draws.below(len(_UPPER))] for _ in range(4)) + "ZZ" + _same_classes(value.strip()[6:], draws)
    return made.upper()


def _aba(value: str, draws: Draws) -> str:
    # No Federal Reserve district begins with 9.
    return _laid(value, "9" + draws.digits(sum(character.isdigit() for character in value) - 1))


def _ssn(value: str, draws: Draws) -> str:
    count = sum(character.isdigit() for character in value)
    number = f"666{1 + draws.below(99):02d}{1 + draws.below(9999):04d}"
    return _laid(value, number if count == 9 else draws.digits(count))


def _rrn(value: str, draws: Draws) -> str:
    count = sum(character.isdigit() for character in value)
    born = f"{draws.below(100):02d}{1 + draws.below(12):02d}{32 + draws.below(68):02d}"
    number = f"{born}{1 + draws.below(4)}{draws.digits(6)}"
    return _laid(value, number[:count] if count <= 13 else draws.digits(count))


def _nhs(value: str, draws: Draws) -> str:
    if sum(character.isdigit() for character in value) != 10:
        return _account(value, draws)
    body = "999" + draws.digits(6)
    right = -sum(int(digit) * (10 - place) for place, digit in enumerate(body)) % 11
    return _laid(value, f"{body}{(right + 1 + draws.below(9)) % 10 if right < 10 else draws.below(10)}")


def _nino(value: str, draws: Draws) -> str:
    characters = iter("QQ" + draws.digits(6) + "ABCD"[draws.below(4)])
    return "".join(next(characters, "") if character.isalnum() else character for character in value)


def _account(value: str, draws: Draws) -> str:
    """Any other number: the same form; zeros in front, where the numbers that banks and offices give do not begin."""
    count = sum(character.isdigit() for character in value)
    zeros = 3 if count >= 10 else 2 if count >= 7 else 0
    digits = iter("0" * zeros + draws.digits(count - zeros))
    return "".join(
        next(digits) if character.isdigit() else _same_classes(character, draws) for character in value
    )  # fmt: skip


def _secret(value: str, draws: Draws) -> str:
    count = max(8, len(value) - len("EXAMPLE"))
    return "EXAMPLE" + "".join(draws.pick(_UPPER + _LOWER + "23456789") for _ in range(min(count, 64)))


def _telephone(value: str, regions: tuple[str, ...], draws: Draws) -> tuple[str, str]:
    """A telephone number and the digits that tell whether two spellings are one number."""
    extension = _EXTENSION.search(value)
    main = value[: extension.start()] if extension else value
    tail = _laid(extension[0], draws.digits(sum(map(str.isdigit, extension[0])))) if extension else ""
    digits = "".join(character for character in main if character.isdigit())
    if len(digits) < 6 or any(character.isalpha() for character in main):
        made = _account(value, draws)
        return made, _comparable(made.casefold())
    abroad = main.lstrip("( ").startswith(("+", "00"))
    country = _country_code(main, regions)
    if country == 1 and len(digits) >= 10:
        area = f"{2 + draws.below(8)}{draws.below(9)}{draws.below(10)}"
        number = f"{'212' if area.endswith('11') else area}55501{draws.digits(2)}"
        return _laid(main, digits[:-10] + number) + tail, number
    if country == 82:
        return _korean_telephone(main, digits, draws, tail)
    if country in (44, 33, 49):
        if country == 44:
            mobile = digits.removeprefix("00").removeprefix("44").lstrip("0").startswith("7")
            number = draws.pick(_UK_MOBILE if mobile and draws.below(4) else _UK_OTHER) + draws.digits(3)
        elif country == 33:
            number = f"{draws.pick(_FRENCH)} {draws.digits(2)} {draws.digits(2)}"
        else:
            number = draws.pick(_GERMAN) + draws.digits(3)
        made = f"+{country} {number[1:]}" if abroad else number
        return made + tail, f"{country}{number[1:]}".replace(" ", "")
    # +999 is assigned to no country (ITU-T E.164); no national number begins with three zeros.
    lead = ("00999" if digits.startswith("00") else "999") if abroad else "000"
    made = _laid(main, lead + draws.digits(max(0, len(digits) - len(lead))))
    return made + tail, "".join(character for character in made if character.isdigit())


def _korean_telephone(main: str, digits: str, draws: Draws, tail: str) -> tuple[str, str]:
    national = digits.removeprefix("00").removeprefix("82") if not digits.startswith("01") else digits
    national = national.lstrip("0")
    area = national[:1] if national.startswith("2") else national[:3] if national.startswith("50") else national[:2]
    number = area + "0" + draws.digits(max(0, len(national) - len(area) - 1))
    return _laid(main, digits[: len(digits) - len(national)] + number) + tail, f"82{number}"


def _country_code(value: str, regions: tuple[str, ...]) -> int:
    import phonenumbers

    spelled = "+" + value[2:] if value.startswith("00") else value
    for region in (None,) if spelled.startswith("+") else regions:
        try:
            number = phonenumbers.parse(spelled, region)
        except phonenumbers.NumberParseException:
            continue
        if phonenumbers.is_valid_number(number) or region is None:
            return int(number.country_code or 0)
    digits = "".join(character for character in value if character.isdigit())
    if re.match(r"01[016789]\d{7,8}$", digits):
        return 82
    return 1 if re.match(r"1?[2-9]\d{9}$", digits) else 0


def _birth(value: str, draws: Draws) -> str:
    """A date in the same form, in the same range of years."""
    year, month, day = 1930 + draws.below(80), 1 + draws.below(12), 1 + draws.below(28)
    plain = value.strip()
    if plain.isdigit() and len(plain) in (6, 8):
        return f"{year}{month:02d}{day:02d}"[8 - len(plain) :]

    def word(match: re.Match[str]) -> str:
        for names in _MONTHS:
            if match[0].casefold() in names:
                name = names[month - 1]
                return name.upper() if match[0].isupper() else name.capitalize() if match[0][0].isupper() else name
        return match[0]

    named = _WORD.sub(word, value)
    spelled = any(part.casefold() in names for part in _WORD.findall(value) for names in _MONTHS)
    parts = iter(_order(re.findall(r"\d+", value), spelled))

    def number(match: re.Match[str]) -> str:
        part = next(parts, "day")
        drawn = {"year": year if len(match[0]) == 4 else year % 100, "month": month, "day": day}[part]
        return f"{drawn:0{len(match[0])}d}" if match[0][0] == "0" or len(match[0]) >= 2 else str(drawn)

    ordinal = "th" if day in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")
    return re.sub(r"(\d)(?:st|nd|rd|th)\b", rf"\g<1>{ordinal}", re.sub(r"\d+", number, named))


def _order(groups: list[str], month_is_named: bool) -> list[str]:
    """What each group of digits of a date is."""
    if month_is_named:
        return ["year" if len(group) == 4 else "day" for group in groups]
    if groups and (len(groups[0]) == 4 or (len(groups) == 3 and len(groups[2]) < 4 and int(groups[0]) > 31)):
        return ["year", "month", "day"]
    first_is_day = bool(groups) and int(groups[0]) > 12
    return ["day", "month", "year"] if first_is_day else ["month", "day", "year"]


def _place(value: str, draws: Draws) -> str:
    """An address of the same form: what kind of street it is stays, the names and numbers change."""
    if re.search("[가-힣]", value):
        changed = _KOREAN_PLACE.sub(lambda match: draws.pick(_KOREAN_STEMS) + match[2], value)
    elif re.fullmatch(r"[A-Z]{1,2}\d[A-Z\d]? ?\d[A-Z]{2}", value.strip().upper()):
        letters = "".join(draws.pick(_UPPER) for _ in range(2))
        return f"ZZ{draws.digits(2)} {draws.digits(1)}{letters}"  # ZZ is no area of the Post Office
    else:

        def word(match: re.Match[str]) -> str:
            stays = match[0].casefold() in _PLACE_KIND or len(match[0]) < 2
            return match[0] if stays else _stem(match[0], draws)

        changed = _WORD.sub(word, value)

    def number(match: re.Match[str]) -> str:
        if len(match[0]) == 5:
            return "00" + draws.digits(3)  # no postal code of the United States lies below 00501
        return str(1 + draws.below(9)) + draws.digits(len(match[0]) - 1)

    changed = re.sub(r"\d+", number, changed)
    return changed if changed != value else f"{draws.pick(_STEMS)}{draws.pick(_STEM_ENDS)}"


def _stem(word: str, draws: Draws) -> str:
    made = draws.pick(_STEMS) + draws.pick(_STEM_ENDS)
    return made.upper() if word.isupper() else made.lower() if word.islower() else made


def _same_classes(text: str, draws: Draws) -> str:
    """Letters for letters and digits for digits; an x, which stars a digit out, and anything else stays."""

    def other(character: str) -> str:
        if character.isnumeric():
            return draws.pick("0123456789")
        if "가" <= character <= "힣":
            return draws.pick(_KOREAN_FIRST)
        if character.isalpha() and character not in "xX":
            return draws.pick(_UPPER if character.isupper() else _LOWER)
        return character

    return "".join(map(other, text))


def _laid(spelling: str, digits: str) -> str:
    """Digits in the form of a spelling: its spaces, hyphens, brackets and stars stay."""
    rest = iter(digits)
    return "".join(next(rest, "") if character.isdigit() else character for character in spelling) + "".join(rest)


_MAKERS: dict[str, Callable[..., str]] = {
    PERSON: _name, EMAIL_ADDRESS: _email, IP_ADDRESS: _ip, CREDIT_CARD: _card, IBAN_CODE: _iban, SWIFT_BIC: _bic,
    ABA_ROUTING_NUMBER: _aba, US_SSN: _ssn, KR_RRN: _rrn, UK_NHS: _nhs, UK_NINO: _nino, DATE_OF_BIRTH: _birth,
    LOCATION: _place, SECRET: _secret,
}  # fmt: skip
