"""Names of persons in Hangul: a family name and one or two syllables, next to an honorific, a label or a signature."""

from __future__ import annotations

from presidio_analyzer import Pattern

from domainlm.redact.recognizers.base import LIKELY, STRONG, CuedRecognizer
from domainlm.redact.recognizers.english_names import FULL_NAME, UPPER
from domainlm.redact.settings import PERSON

# Family names of more than 99 % of Korea's people (Statistics Korea, census of 2015), less some that often begin words.
_SURNAMES = (
    "김이박최정강조윤장임한오서신권황안송류유전홍고문양손배백허남심노하곽성차주우구민진지엄채원천방공현함변염여추도소석선설마길연위표명"
    "기반왕금옥육인맹모탁국어은편용예경봉나라"
)
_COMPOUND = "남궁|황보|제갈|선우|독고|사공|서문"
_NAME = rf"(?:(?:{_COMPOUND})[가-힣]{{1,2}}|[{_SURNAMES}][가-힣]{{1,2}})"
FULL_KOREAN_NAME = rf"(?:(?:{_COMPOUND})[가-힣]{{1,2}}|[{_SURNAMES}][가-힣]{{2}})"
_NAMED, _FULL_NAMED = rf"(?P<value>{_NAME})", rf"(?P<value>{FULL_KOREAN_NAME})"
_START = "(?<![가-힣])"
_POST = (
    "(?:과장|대리|부장|차장|팀장|주임|대표|이사|상무|전무|사장|회장|지점장|계장|행원|변호사|원장|교수|선생|기사|매니저"
    "|상담원|실장|본부장)"
)
_ENDING = (
    "(?=[^가-힣]|$|님|씨|입니다|이고|이며|이에요|예요|이라|라고|인데|으로|로|은|는|이|가|을|를|의|에게|에|께|과|와|도"
    "|및|이나|하고|한테|만|본인)"
)
_LABEL = (
    "(?:성명|성함|이름|고객명|예금주명?|수취인명?|수령인|받(?:는|은|으신|으시는)[ ]?(?:사람|분)"
    "|보(?:내는|낸|내신)[ ]?(?:사람|분)|송금인|입금자명?|입금인|계약자명?|명의자?|가입자명?|신청인|신청자|담당자?"
    "|대리인|배우자|피보험자|수익자|소유주|본인|작성자|의뢰인|보호자|고객|차주|보증인|채무자|피해자|상속인"
    "|남편|아내|어머니|아버지|아들|딸)"
)
_STOP = r"(?=[ ]?(?:[,.(/:;\n]|$))"
_IS = r"(?:[ ]?[:=|][ ]?[\"']?|(?:은|는|이|가)[ ]|\t|[ ]?\()"
# So close to a name that not even a colon stands between.
_CLOSE_LABEL = (
    "(?:성명|성함|이름|고객명|예금주명?|수취인명?|입금자명?|신청인|피보험자|계약자|피해자|보증인|상속인"
    "|배우자|차주|채무자|어머니|아버지|남편|아내|아들|딸|저)"
)
_OWNED = "(?:계좌|카드|통장|주민|연락처|전화|휴대폰|대출|보험|이메일|명의|비밀번호|생년월일|주소|서명)"
# Words that would read as a name in these places.
COMMON = frozenset(
    """우리 우수 우량 신규 주요 기존 현재 전체 하나 은행 여러 최근 최우수 소중한 고객 주주 이용 예금 이체 국내
    국민 기업 신한 농협 해당 모든 회원 선생 이사 사장 회장 주부 기자 교수 대표 부모 지점장 지점 조합원 공무원
    임차인 임대인 유학생 변호사 변리사 기술자 전문가 소유자 상속인 연금자 투자자 채권자 채무자 가입자 이용자
    신청자 신청인 담당자 상담원 정보 주소 변경 기재 정정 명의 명의자 연락처 전화 번호 계좌 한국 미국 중국 서울
    부산 금융 기관 금리 금액 인상 인하 주식 채권 원화 이자 연체 이메일 이름 성명 성함 전달 조회 지급 유의 주의
    이전 이후 오늘 어제 내일 지금 방금 오전 오후 이번 지난 전문 남편 아내 여자 남자 이상 이하 정도 문의 조치 안내
    한번 어떻게 어디 여기 저희 귀하 본인 차주 수익자 수령인 송금인 대리인 신입 진행 진심 감사 항상 소개 추천 조합
    연구원 임원 직원 사원 인턴 심사 심사역 주임 차장 과장 팀장 대리 부장 계장 행원 전무 상무 원장 소장 반장 어르신
    장애인 외국인 한국인 미성년 성년 여성 남성 개인 법인 이번달 공동 단독 불명 미상 상동 동일 확인 서명 위임 고지
    기입 오류 정상 안전 어머 어머니 아버지 손님 형님 누님 선배 후배 도련 사모 스승 임금 하느 하나 해외 국외 일반
    기타 전용 장기 단기 주택 신용 예비 잠재 실제 최종 연령 고령 소액 거액 고액 정기 수신 여신 이분 그분 여러분
    최고 우대 유효 공통 기본""".split()
)


class KoreanNameRecognizer(CuedRecognizer):
    """Names in Hangul, by cue."""

    ENTITY = PERSON
    GUARDED = False
    FLAGS = 0
    PATTERNS = (
        (
            "honorific",
            rf"{_START}{_NAMED}(?=[ ]?(?:고객|회원|{_POST})?님|[ ]?씨(?:[^가-힣]|$"
            rf"|[은는이가를의와도께에로랑라만입한])|[ ]귀하)",
            STRONG,
        ),
        (
            "customer",
            rf"{_START}{_FULL_NAMED}(?=[ ](?:고객|회원|양|군)(?:[^가-힣]|$|[은는이가을를의에과와도께]))",
            LIKELY,
        ),
        ("label", rf"{_START}{_LABEL}{_IS}{_NAMED}{_ENDING}", STRONG),
        (
            "label before a name",
            rf"{_START}{_CLOSE_LABEL}[ ](?P<value>{FULL_KOREAN_NAME}(?<![을를의에로])){_ENDING}",
            LIKELY,
        ),
        (
            "customer before a name",
            rf"{_START}(?:고객|회원|담당자?|직원|상담원)[ ](?P<value>{FULL_KOREAN_NAME}"
            rf"(?<![금률율액권점업을를의에로은는])){_STOP}",
            LIKELY,
        ),
        ("owner", rf"{_START}{_FULL_NAMED}(?=의[ ]{_OWNED}|[ ]명의)", LIKELY),
        (
            "first words",
            rf"^[ ]?(?:안녕하세요[.,!~ ]{{0,3}})?{_FULL_NAMED}(?=입니다|이에요|예요|인데요|이라고)",
            LIKELY,
        ),
        ("Latin name after a label", rf"{_START}{_LABEL}{_IS}{FULL_NAME}", STRONG),
        (
            "introduction",
            rf"{_START}(?:저는|저|제[ ]?이름은|전|나는|제가|여기)[ ](?:[가-힣A-Za-z]+(?:에서|에|의|지점|은행|사는"
            rf"|근무하는)[ ])?"
            rf"{_FULL_NAMED}(?=[ ]?(?:입니다|이라고|라고|이에요|예요|인데|이고|이며|아닙니다|아니|[,(]))",
            STRONG,
        ),
        ("self-naming", rf"{_START}{_FULL_NAMED}(?=(?:이라고|라고)[ ](?:합니다|해요|하는|하며|불러))", STRONG),
        ("signature", rf"{_START}{_FULL_NAMED}(?=[ ]?(?:드림|올림|배상|拜上|\(인\)|\(서명\)))", STRONG),
        (
            "facts",
            rf"{_START}{_FULL_NAMED}[ ]?[(,/:][ ]?(?:주민|생년월일|전화|연락처|휴대폰|핸드폰|계좌|이메일"
            rf"|\d{{6}}-[1-8]|01\d-?\d{{3,4}}"
            r"|[A-Za-z0-9._%+-]+@)",
            LIKELY,
        ),
    )
    GATE = (
        rf"님|씨|귀하|(?:고객|회원|양|군)(?:[^가-힣]|$|[은는이가을를의에과와도께])|{_LABEL}(?:[ ]?[:=|]"
        rf"|[은는이가][ ]|[\t (])|{_CLOSE_LABEL}[ ]"
        rf"|(?:담당자?|직원|상담원)[ ]|의[ ]{_OWNED}|[ ]명의|^[ ]?(?:안녕|[가-힣]{{3,4}}(?:입니다|이에요|예요|인데요"
        rf"|이라고))|저는|저[ ]|이름은|전[ ]|나는|제가"
        rf"|여기|라고[ ]|드림|올림|배상|拜上|\((?:인|서명)\)|[가-힣][ ]?[(,/:][ ]?(?:[가-힣]{{2}}|\d"
        rf"|[{UPPER}a-z0-9._%+-]+@)"
    )

    def grade(self, value: str, pattern: Pattern) -> float:
        return 0.0 if value in COMMON else pattern.score
