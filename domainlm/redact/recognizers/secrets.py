"""Secrets: what opens an account or a system. Connection strings, keys, tokens, passwords in code and in prose."""

from __future__ import annotations

import re

from presidio_analyzer import Pattern

from domainlm.redact.recognizers.base import LIKELY
from domainlm.redact.recognizers.edges import StructuredRecognizer
from domainlm.redact.settings import SECRET

_SURE = 0.9

# A value that only stands for one: a variable, a mask, a word of the manual.
_STAND_IN = re.compile(
    r"[$%<{\[(].*|[*xX•.#_-]+|(?:your|my|the|some|new|old|a|an|change|replace|insert|enter|type)[_-]?\w*|null|none"
    r"|nil|true|false"
    r"|undefined|required|optional|string|str|secret|password|passwd|token|example|changeme|redacted|hidden|masked"
    r"|empty"
    r"|os\.\w.*|env\w*\..*|process\..*|config\w*[.\[].*|self\.\w.*|get\w*\(.*|input\(.*|getpass.*|settings\.\w.*"
    r"|\[[A-Z_]+_\d+\].*",
    re.IGNORECASE | re.ASCII | re.DOTALL,
)


class SecretRecognizer(StructuredRecognizer):
    """Credentials by the forms of their issuers, and by the word before them.

    A connection string with a password is one finding from scheme to end: host and user help an intruder, too.
    """

    ENTITY = SECRET
    GUARDED = False
    _WORD = (
        r"(?:pass(?:word|wd|phrase|code)?|pwd|pass_?wd|secret(?:[_-]?(?:access)?[_-]?key)?|api[ _-]?key"
        r"|api[_-]?secret|apikey|access[ _-]?key"
        r"(?:[_-]?id)?|access[ _-]?token|auth[ _-]?token|refresh[_-]?token|client[ _-]?secret|private[_-]?key"
        r"|encryption[_-]?key"
        r"|account[_-]?key|shared[_-]?access[_-]?key|signing[_-]?key|master[_-]?key|session[_-]?token"
        r"|bearer[_-]?token|token"
        r"|credentials?|비밀\s?번호|패스워드|암호|비번|인증\s?키|보안\s?키|접근\s?키)"
    )
    PATTERNS = (
        (
            "private key",
            r"-----BEGIN (?:[A-Z0-9]{2,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----"
            r"(?:[^-]{1,20000}-----END (?:[A-Z0-9]{2,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----"
            r"|[A-Za-z0-9+/=\s\\]{0,20000})",
            0.95,
        ),
        (
            "address with a password",
            r"(?<![A-Za-z0-9])(?:jdbc:)?[a-z][a-z0-9+.-]{1,24}://[^\s:/?#\[\]@\"'<>]{0,80}:[^\s/\"'<>@]{1,100}"
            r"(?:@[^\s/\"'<>@]{1,60})?"
            r"@[^\s\"'<>),;]{1,300}",
            0.95,
        ),
        (
            "address with a parameter",
            r"(?<![A-Za-z0-9])(?:jdbc:[a-z0-9:@/.-]{3,80}|https?://[^\s\"'<>?]{3,200})[?;][^\s\"'<>]{0,200}?"
            r"(?:password|passwd|pwd|token|api[_-]?key|access[_-]?key|secret|sig|signature"
            r"|auth)=[^\s\"'<>&;]{4,200}[^\s\"'<>]{0,200}",
            0.95,
        ),
        (
            "list of settings",
            r"(?<![A-Za-z])(?:(?:server|data source|host|addr|address|network address|database|initial catalog"
            r"|user(?: ?id)?|uid|username"
            r"|driver|port|provider|dsn|persist security info|defaultendpointsprotocol|accountname"
            r"|endpoint)[ ]?=[ ]?[^;\"'\n]{0,100};[ ]?){1,10}"
            r"(?:pwd|password|accountkey"
            r"|sharedaccesskey)[ ]?=[ ]?[^;\"'\n\s]{1,120}"
            r"(?:;[ ]?[A-Za-z][A-Za-z ]{1,30}[ ]?=[ ]?[^;\"'\n]{0,100}){0,10};?",
            0.95,
        ),
        (
            "token of an issuer",
            r"(?<![A-Za-z0-9])(?:(?:AKIA|ASIA|AROA|AIDA)[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{20,255}"
            r"|github_pat_[A-Za-z0-9_]{20,255}"
            r"|glpat-[A-Za-z0-9_-]{16,64}|sk-[A-Za-z0-9_-]{16,200}|[srp]k_(?:live|test)_[A-Za-z0-9]{10,120}"
            r"|xox[abeoprs]-[A-Za-z0-9-]{8,200}"
            r"|AIza[0-9A-Za-z_-]{30,40}|ya29\.[0-9A-Za-z_-]{20,300}|SG\.[\w-]{16,32}\.[\w-]{16,64}"
            r"|hf_[A-Za-z0-9]{20,64}|npm_[A-Za-z0-9]{30,64}"
            r"|pypi-[A-Za-z0-9_-]{30,300}|dop_v1_[a-f0-9]{40,64}|shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}"
            r"|whsec_[A-Za-z0-9]{20,64}|rzp_(?:live|test)_\w{10,40}"
            r"|EAACEdEose0cBA[0-9A-Za-z]{10,300}|sq0(?:atp|csp)-[\w-]{20,64})(?![A-Za-z0-9])",
            _SURE,
        ),
        (
            "web token",
            r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{8,2000}\.[A-Za-z0-9_-]{4,4000}(?:\.[A-Za-z0-9_-]{0,2000})?",
            _SURE,
        ),
        ("web hook", r"https://hooks\.slack\.com/(?:services|workflows)/[A-Za-z0-9/_-]{10,120}", _SURE),
        (
            "authorization",
            r"(?i:authorization|proxy-authorization|x-api-key|x-auth-token)[\"']?[ ]?[:=][ ]?[\"']?(?i:bearer|basic"
            r"|token|apikey)?[ ]?"
            r"(?P<value>[A-Za-z0-9._~+/=-]{8,2000})",
            _SURE,
        ),
        ("bearer", r"(?<![A-Za-z])[Bb]earer[ ](?P<value>(?=[A-Za-z._~+/=-]*\d)[A-Za-z0-9._~+/=-]{12,2000})", _SURE),
        (
            "assigned in quotes",
            rf"(?<![A-Za-z]){_WORD}[\"'\\]{{0,2}}\]?[ ]?(?::=|=>|==|="
            rf"|:)[ ]?\\?[\"'](?P<value>[^\"'\\\n]{{4,200}})\\?[\"']",
            _SURE,
        ),
        (
            "assigned",
            rf"(?<![A-Za-z]){_WORD}[ ]?(?::=|=>|=|:)[ ]?(?P<value>[^\s\"'`,;&<>]{{4,200}})",
            LIKELY,
        ),
        (
            "said",
            r"(?<![A-Za-z])(?:password|passcode|passphrase|api key|secret|access token|pwd)(?:[ ](?:for|to"
            r"|of)(?:[ ][\w.-]{1,24}){1,5}?)?[ ]"
            r"(?:is|was|to|as|changed to|set to|reset to)[ ](?:still[ ]"
            r"|now[ ])?[\"'`(]?(?P<value>[^\s\"'`,;)]{4,100})",
            LIKELY,
        ),
        (
            "said in Korean",
            r"(?:비밀\s?번호|패스워드|암호|비번|인증\s?키)(?:는|은|가|를|:|=)?[ ]?[:=]?[ ]?[\"'(]?"
            r"(?P<value>[!-~]{4,60}?)"
            r"(?=입니다|이에요|예요|이고|으로|로|라고|인데|[\s\"'),]|$)",
            LIKELY,
        ),
        (
            "card's secret",
            r"(?<![A-Za-z])(?:CVV2?|CVC2?|CVN|cvv|cvc)(?:[ ]?(?:code|number|no|is|번호|:|=|은"
            r"|는)){0,3}[ ]?(?P<value>\d{3,4})(?!\d)",
            LIKELY,
        ),
        (
            "PIN",
            r"(?<![A-Za-z])PIN(?:[ ]?(?:code|number|no|is|was|:|=|은|는)){1,3}[ ]?(?P<value>\d{4,6})(?!\d)",
            LIKELY,
        ),
    )
    GATE = (
        r"://|-----BEGIN|(?i:pass|pwd|secret|token|api[ _-]?key|access[ _-]?key|private[_-]?key"
        r"|[a-z]_?-?key[\"' ]{0,2}[:=]|credential|bearer"
        r"|authorization|x-a|jdbc:|cv[vcn]|pin[ :=은는])"
        r"|비밀|패스워드|암호|비번|키|AKIA|ASIA|AROA|AIDA|gh[pousr]_|github_pat"
        r"|glpat|sk-|k_live|k_test|xox"
        r"|AIza|ya29|SG\.|hf_|npm_|pypi-|dop_v1|shp|whsec|rzp_|EAAC|sq0|eyJ"
    )

    def judge(self, text: str, start: int, end: int, pattern: Pattern) -> float:
        value = text[start:end]
        if pattern.name.startswith(("assigned", "said", "authorization")):
            if _STAND_IN.fullmatch(value):
                return 0.0
            if pattern.name != "assigned in quotes" and not _unlike_a_word(value):
                return 0.0
        if pattern.name == "address with a password" and _STAND_IN.fullmatch(value.split("://", 1)[1].split(":", 1)[1]):
            return 0.0
        return pattern.score


def _unlike_a_word(value: str) -> bool:
    """Whether a value holds what no word of a sentence does: a digit beside letters or signs, or a sign inside."""
    core = value.strip(".,!?:()")
    letters, figures = any(map(str.isalpha, core)), any(map(str.isdigit, core))
    sign = any(not character.isalnum() and character not in "-'" for character in core[1:-1])
    return (figures and (letters or sign or len(core) >= 4)) or (letters and sign)
