"""Street addresses and postcodes, and the towns in which somebody lives. Other towns, countries and markets stay."""

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

_KOREAN_TOWN = (
    "(?:서울|부산|대구|인천|광주|대전|울산|세종|수원|성남|용인|고양|창원|청주|전주|천안|포항|김해"
    "|제주|안양|안산|남양주|화성|평택|강남|강북|강동|강서|서초|송파|마포|노원|은평|관악|종로|영등포|성북|용산|잠실|해운대"
    "|의정부|파주|시흥|김포|원주|춘천|강릉|속초|동해|태백|삼척|여수|순천"
    "|목포|나주|광양|군산|익산|정읍|남원|구미|경주|안동|영주|상주"
    "|진주|거제|통영|양산|밀양|사천|충주|제천|아산|서산|당진|논산|공주|보령"
    "|분당|일산|판교|동탄|광명|하남|구리|부천|군포|과천|오산"
    "|이천|여주|포천|경기|강원|충북|충남|전북|전남|경북|경남|미국|일본|중국|캐나다"
    "|호주|영국|독일|프랑스|베트남|싱가포르|홍콩|뉴욕|도쿄)"
)
# Words that end as towns do.
_KOREAN_WORD = (
    "도시|대도시|역시|다시|당시|일시|임시|동시|즉시|수시|잠시|혹시|택시|주식회사|활동|이동|행동|자동|공동|변동|노동|아동|감동|연구|친구"
    "|도구|요구|입구|출구|지구|가구|욕구|누구|해군|육군|공군|장군|하면|화면|방면|측면|표면|정면|서면|대면|반면|라면|국면|이면|가면"
)
# Where it is one's home: "수원에 사는", "부산 거주", "서울에서 태어났다".
_KOREAN_HOME = (
    "(?=에[ ]?(?:살(?:고|며|았|아)|사는|사시는|사세요|산다|삽니다|거주|정착|주소)"
    "|에서[ ]?(?:태어|자랐|자란|거주|살|출생|자취)"
    "|[ ]?(?:거주|출신|토박이)(?![가-힣]*(?:지역|여부))|(?:으로|로)[ ](?:이사|전입|이민|이주|귀국))"
)
_TOWN_NAME = r"(?-i:(?:St\.?[ ])?[A-ZÀ-Þ][\w'À-ɏ-]+(?:[ ](?:upon|de|del|do|la|am|an der)?[ ]?[A-ZÀ-Þ][\w'À-ɏ-]+){0,2})"
_NO_TOWN = (
    r"(?!(?:January|February|March|April|May|June|July|August|September|October|November|December|Jan|Feb|Mar|Apr"
    r"|Jun|Jul|Aug|Sep|Oct|Nov|Dec|Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday|Premier|Premium|Classic"
    r"|Online|Mobile|Visa|Savings|Checking|God|Peace|Fear|English|Apt|Flat|The|A|I|My|Our|Your|His|Her|Their)\b)"
)
_SOMEBODY = r"(?:I|we|he|she|they|(?:my|our|his|her|their)[ ][a-z]{3,12}(?:[ ]and[ ][a-z]{1,12})?)(?:'(?:m|ve|re|s|d))?"
_LIVES = (
    rf"(?<!\w)(?i:{_SOMEBODY}[ ](?:(?:am|are|is|was|were|have|has|had|been|now|currently|still|just|recently"
    r"|also|all|both|used[ ]to|will[ ]be|[a-z]{2,8}ly)[ ]){0,3}(?:live[sd]?|living"
    r"|resid(?:e|es|ed|ing)|moved|moving|relocat(?:ed|ing)"
    r"|emigrated|born|born[ ]and[ ]raised|raised|grew[ ]up|settled)(?:[ ](?:here|back|over|abroad|permanently))?"
    r"[ ](?:in|to|from|near))[ ]"
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
        (
            "American forces abroad",  # USPS Publication 28, section 225
            r"(?<!\w)(?i:psc|unit|cmr)[ ]\d{1,5},?[ ](?i:box)[ ]\d{1,5},?[ ]?\s?[AFD]PO,?[ ]A[AEP][ ]\d{5}"
            r"(?:-\d{4})?",
            LIKELY,
        ),
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
        ("town where somebody lives", rf"{_LIVES}{_NO_TOWN}(?P<value>{_TOWN_NAME})", LIKELY),
        (
            "town on a form",
            rf"(?m:^|[,;|])[ ]?(?i:city(?:/town)?|town|(?:city|country|place|state)[ ]of[ ](?:residence|birth)"
            rf"|tax[ ]residence|birthplace|born[ ]in|resident[ ](?:in|of)|home[ ]?town)(?:[ ]?[:=][ ]?|[ ]-[ ]|\t)"
            rf"{_NO_TOWN}(?P<value>{_TOWN_NAME})",
            LIKELY,
        ),
        (
            "Korean town where somebody lives",
            rf"(?<![가-힣])(?P<value>(?:{_KOREAN_TOWN}(?:시|도)?[ ])?(?:{_KOREAN_TOWN}(?:특별시|광역시|시|도|군|구)?"
            rf"|(?!{_KOREAN_WORD})[가-힣]{{1,3}}(?:시|군|구|읍|면|동)(?=에|로|[ ]?거주|[ ]?출신))){_KOREAN_HOME}",
            LIKELY,
        ),
        (
            "Korean town on a form",
            rf"(?<![가-힣])(?:거주지|거주지역|출생지|본적|고향|거주 도시)[ ]?[:：은는][ ]?(?P<value>{_KOREAN_TOWN}"
            rf"(?:특별시|광역시|시|도)?(?:[ ][가-힣]{{1,4}}(?:시|군|구))?)(?![가-힣]*(?:로|길)[ ]\d)",
            LIKELY,
        ),
        ("apartment", r"(?<![가-힣])[가-힣A-Za-z0-9]{2,12}(?:아파트|빌라|오피스텔)[ ]\d{1,4}동[ ]?\d{1,4}호", LIKELY),
    )
    GATE = (
        rf"\d[A-Za-z]?,?[ ][^\n]{{1,60}}?(?:{_STREET}|{_DOUBTFUL})\b|{_UK_POSTCODE}|(?:straße|strasse|str\.|weg"
        rf"|platz|allee|gasse)[ ]\d"
        r"|(?:Calle|Avenida|Avda\.|Plaza|Paseo|Carrer|Rua|Via|Viale|Corso|Piazza|Largo)[ ][^\n]{1,60}?\d|(?:straat"
        r"|laan|gracht|plein|kade|dijk)[ ]\d"
        r"|[AFD]PO,?[ ]A[AEP][ ]\d{5}"
        r"|\d,?[ ](?:bis[ ]|ter[ ])?(?:rue|avenue|boulevard|place|allée|chemin|quai)[ ]|(?:시|군"
        r"|구)[ ][가-힣0-9]{1,10}|동[ ]?\d{1,4}호"
        r"|(?i:live[sd]?|living|resid(?:e|es|ed|ing)|mov(?:ed|ing)|relocat(?:ed|ing)|emigrated|born|raised"
        r"|grew[ ]up|settled)"
        r"(?:[ ][a-z]+)?[ ](?i:in|to|from|near)[ ](?:St|[A-ZÀ-Þ])"
        r"|(?i:city|town|residence|birth|birthplace|born[ ]in|resident[ ]in|resident[ ]of)[^\n]{0,6}[:=\t-]"
        r"|에[ ]?(?:살|사는|사시는|사세요|산다|삽니다|거주|정착|주소)|에서[ ]?(?:태어|자랐|자란|거주|살|출생|자취)"
        r"|거주|출신|토박이|출생지|본적"
        r"|고향|로[ ](?:이사|전입|이민|이주|귀국)"
    )
