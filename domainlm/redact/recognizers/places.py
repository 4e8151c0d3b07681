"""Street addresses and postcodes: where a person lives. Cities, countries and markets stay as they are."""

from __future__ import annotations

from domainlm.redact.recognizers.base import LIKELY, CuedRecognizer
from domainlm.redact.settings import LOCATION

_STREET = (
    r"(?:Street|St|Avenue|Ave|Road|Rd|Boulevard|Blvd|Lane|Ln|Terrace|Crescent|Parkway|Pkwy|Highway|Hwy|Gardens|Mews"
    r"|Grove)"
)
# Also words of any market report ("10 Year Treasury Close"): only with a town and a postcode, or a unit, behind.
_DOUBTFUL = r"(?:Drive|Dr|Court|Ct|Place|Pl|Square|Sq|Close|Way|Circle|Row|Walk|Hill)"
_UNIT = r"(?:,?[ ](?:Apt|Apartment|Suite|Ste|Unit|Flat|Floor|Room|#)\.?[ ]?#?\w{1,5})"
_UK_POSTCODE = r"[A-Z]{1,2}\d[A-Z\d]?[ ]\d[A-Z]{2}"
_TOWN = r"(?:,?[ ][A-Z][A-Za-z.'-]+){1,3}"
_AREA = rf"{_TOWN},?[ ](?:[A-Z]{{2}}[ ]\d{{5}}(?:-\d{{4}})?|{_UK_POSTCODE})"
_HOUSE = r"(?:(?:Flat|Apt\.?|Apartment|Unit|Suite)[ ]\w{1,5},[ ])?(?<![\w.,$-])\d{1,5}[A-Za-z]?,?[ ](?:[NSEW]\.?[ ])?"
_WORDS = r"(?:[A-Z0-9][A-Za-z0-9.'-]*[ ]){1,3}"
_DO = (
    "(?:서울|부산|대구|인천|광주|대전|울산|세종|경기|강원|충북|충남|전북|전남|경북|경남|제주)"
    "(?:특별자치시|특별자치도|특별시|광역시|도|시)?"
)


class AddressRecognizer(CuedRecognizer):
    """Postal addresses with a house number: American, British, German, French and Korean ones."""

    ENTITY = LOCATION
    FLAGS = 0
    GUARDED = False
    PATTERNS = (
        (
            "house number and street",
            rf"{_HOUSE}(?!Wall St){_WORDS}{_STREET}\b\.?{_UNIT}?(?:{_AREA})?",
            LIKELY,
        ),
        ("house number, street and area", rf"{_HOUSE}{_WORDS}{_DOUBTFUL}\b\.?(?:{_UNIT}(?:{_AREA})?|{_AREA})", LIKELY),
        ("British postcode", rf"(?<![\w-]){_UK_POSTCODE}(?![\w-])", LIKELY),
        (
            "German street",
            r"(?<!\w)[A-ZÄÖÜ][a-zäöüß-]+(?:straße|strasse|str\.|weg|platz|allee|gasse)[ ]\d{1,4}[a-z]?"
            r"(?:,?[ ]\d{5}[ ][A-ZÄÖÜ][a-zäöüß-]+)?",
            LIKELY,
        ),
        (
            "French street",
            r"(?<![\w.,])\d{1,4}(?:[ ](?:bis|ter))?,?[ ](?:rue|avenue|boulevard|place|allée|chemin|quai)[ ]"
            r"(?:[\w'’-]+[ ]?){1,5}"
            r"(?:,?[ ]\d{5}[ ][A-ZÀ-Ý][\w-]+)?",
            LIKELY,
        ),
        (
            "Spanish or Italian street",
            r"(?<!\w)(?:Calle|Avenida|Avda\.|Plaza|Paseo|Carrer|Rua|Via|Viale|Corso|Piazza|Largo)[ ]"
            r"(?:[\w'-]+[ ]){1,5}?\d{1,4}[a-z]?"
            r"(?:,?[ ]\d{4,5}(?:-\d{3})?[ ][A-ZÁÉÍÓÚ][\w-]+)?(?!\d)",
            LIKELY,
        ),
        (
            "Dutch street",
            r"(?<!\w)[A-Z][a-z]+(?:straat|laan|gracht|plein|kade|dijk)[ ]\d{1,4}[a-z]?"
            r"(?:,?[ ]\d{4}[ ]?[A-Z]{2}[ ][A-Z][a-z-]+)?",
            LIKELY,
        ),
        (
            "Korean road",
            rf"(?<![가-힣])(?:{_DO}[ ])?(?:[가-힣]{{1,6}}시[ ])?(?:[가-힣]{{1,5}}(?:시|군|구)[ ]){{1,2}}"
            rf"(?:[가-힣]{{1,6}}(?:읍|면)[ ])?"
            r"[가-힣0-9]{1,10}(?:로|길|대로)(?:[ ]?\d{1,4}번?길)?[ ]?\d{1,4}(?:-\d{1,4})?(?:번지)?"
            r"(?:,?[ ](?:[가-힣A-Za-z0-9]+[ ]?)?\d{1,4}동(?:[ ]?\d{1,4}호)?|,?[ ]\d{1,4}호)?",
            LIKELY,
        ),
        (
            "Korean lot",
            rf"(?<![가-힣])(?:{_DO}[ ])?(?:[가-힣]{{1,6}}시[ ])?(?:[가-힣]{{1,5}}(?:시|군"
            rf"|구)[ ]){{1,2}}[가-힣0-9]{{1,6}}(?:동|리|가)[ ]\d{{1,4}}"
            r"(?:-\d{1,4})?(?:번지)?(?:[ ][가-힣A-Za-z0-9]+(?:아파트|빌라|맨션|오피스텔))?(?:,?[ ]\d{1,4}동)?"
            r"(?:[ ]?\d{1,4}호)?",
            LIKELY,
        ),
        ("apartment", r"(?<![가-힣])[가-힣A-Za-z0-9]{2,12}(?:아파트|빌라|오피스텔)[ ]\d{1,4}동[ ]?\d{1,4}호", LIKELY),
    )
    GATE = (
        rf"\d[A-Za-z]?,?[ ][^\n]{{1,60}}?(?:{_STREET}|{_DOUBTFUL})\b|{_UK_POSTCODE}|(?:straße|strasse|str\.|weg"
        rf"|platz|allee|gasse)[ ]\d"
        r"|(?:Calle|Avenida|Avda\.|Plaza|Paseo|Carrer|Rua|Via|Viale|Corso|Piazza|Largo)[ ][^\n]{1,60}?\d|(?:straat"
        r"|laan|gracht|plein|kade|dijk)[ ]\d"
        r"|\d,?[ ](?:bis[ ]|ter[ ])?(?:rue|avenue|boulevard|place|allée|chemin|quai)[ ]|(?:시|군"
        r"|구)[ ][가-힣0-9]{1,10}|동[ ]?\d{1,4}호"
    )
