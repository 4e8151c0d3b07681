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
    r"\$[{(][^\n]+|\$(?-i:[A-Z_0-9]+|[a-z_0-9]+(?:[A-Z][a-z]+){0,2})|%[A-Za-z_]\w*%|%[sdvr]|<[^<>]{1,60}>"
    r"|\{+[\w.: -]*\}+|\[[A-Za-z_ ]+\]|\(.*|[*xX•.#_?-]+"
    r"|(?:your|my|the|some|new|old|a|an|change|replace|insert|enter|type)(?:[_ -][a-z]*)*|null|none"
    r"|nil|true|false"
    r"|undefined|required|optional|string|str|secret|password|passwd|token|example|changeme|change_?me|redacted|hidden"
    r"|masked|empty|yes|no|n/a|unknown|expired|invalid|incorrect|wrong|reset|change|protected|login|field|prompt"
    r"|os\.\w.*|env\w*\..*|process\..*|config\w*[.\[].*|self\.\w.*|get\w*\(.*|input\(.*|getpass.*|settings\.\w.*"
    r"|args\.\w.*|request\.\w.*|user\.\w.*|vault[:/].*|secrets?\.\w.*|\w+\(.*"
    r"|\[[A-Z_]+_\d+\].*",
    re.IGNORECASE | re.ASCII | re.DOTALL,
)


class SecretRecognizer(StructuredRecognizer):
    """Credentials by the forms of their issuers, and by the word before them.

    A connection string with a password is one finding from scheme to end: host and user help an intruder, too.
    """

    ENTITY = SECRET
    GUARDED = False
    # Long words may end a longer name (`dbPassword`, `MYSQL_ROOT_PASSWORD`); short ones stand alone.
    _WORD = (
        r"(?:(?:pass(?:word|wd|phrase|code)|passwort|contrase[ñn]a|mot de passe|secret|api[ _-]?key|apikey"
        r"|access[ _-]?key"
        r"|auth[ _-]?key|private[ _-]?key|encryption[ _-]?key|account[ _-]?key|signing[ _-]?key|master[ _-]?key"
        r"|license[ _-]?key"
        r"|subscription[ _-]?key|token|credentials?|비밀\s?번호|패스워드|비밀\s?키|암호(?:키)?|비번"
        r"|인증\s?(?:키|토큰)|보안\s?키|접근\s?키|시크릿(?:\s?키)?"
        r"|토큰|API\s?키)"
        r"|(?<![A-Za-z])(?:pass|pwd|pw|pass_?wd|psw|pswd|userpwd))"
        r"(?:[_-]?(?:access[_-]?)?(?:key|id|value|hash|prod|dev|live|test|[0-9]))?"
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
            r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{8,2000}={0,2}\.[A-Za-z0-9_-]{4,4000}={0,2}(?:\.[A-Za-z0-9_-]{0,2000}={0,2}){0,3}",
            _SURE,
        ),
        (
            "address of Oracle",
            r"(?:jdbc:oracle:[a-z]{2,8}:|(?i:sqlplus|impdp|expdp)[ ])[^\s/@]{1,40}/[^\s/@]{1,60}@[^\s\"'<>),;]{1,200}",
            0.95,
        ),
        (
            "session",
            r"(?i:sess(?:ion)?[_-]?id|j?sessionid|phpsessid|connect\.sid|csrf[_-]?token|xsrf[_-]?token"
            r"|remember_token)[\"']?[ ]?[=:][ ]?"
            r"[\"']?(?P<value>[A-Za-z0-9._~+/%-]{16,300})",
            LIKELY,
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
            rf"{_WORD}[\"'\\]{{0,2}}[\])]?(?:[ ]?\([^()\n]{{1,24}}\))?[ \t]{{0,8}}(?::=|=>|==|=|:|,)[ \t]{{0,8}}"
            r"(?:[brf]|b64)?"
            rf"\\?[\"'`](?P<value>[^\"'`\\\n]{{4,200}})\\?[\"'`]",
            _SURE,
        ),
        (
            "assigned",
            rf"{_WORD}[*_]{{0,2}}(?:[ ]?\([^()\n]{{1,24}}\))?[ \t]{{0,8}}(?::=|=>|=|:|\|)[ \t*_`]{{0,8}}"
            rf"(?P<value>[^\s\"'`,;&<>|]{{4,400}})",
            LIKELY,
        ),
        # A file of settings says what it says, whatever the value looks like: DB_PASSWORD=moonlight, db.password=…
        (
            "setting",
            rf"(?:^|\n)[ \t]*(?:export[ ]|set[ ]|ENV[ ]|-[ ])?(?:[A-Za-z][A-Za-z0-9_.-]{{0,60}}?)?{_WORD}[ ]?=[ ]?"
            rf"(?P<value>[^\s\"'`<>]{{4,400}})[ \t]*(?=\r?\n|$|[ ]#)",
            LIKELY,
        ),
        (
            "flag",
            r"(?<![0-9A-Za-z])--?(?:password|passwd|pass|pwd|token|secret|api-?key|access-?key|auth-?token"
            r"|client-?secret)"
            r"(?:[ ]|=)[\"']?(?P<value>[^\s\"']{4,200})",
            LIKELY,
        ),
        (
            "flag of a client",
            r"(?:mysql\w*|mariadb|sshpass|redis-cli|mongo(?:sh|dump)?|sqlplus|bcp|sqlcmd|curl|wget|ldap\w+|psql"
            r"|kinit)[ ](?:[^\n]{0,120}?"
            r"[ ])?-(?:[paPw][ ]?|u[ ]?[\w.-]{1,40}:)[\"']?(?P<value>[^\s\"']{4,100})",
            LIKELY,
        ),
        (
            "of a database",
            r"(?i:identified[ ]by|with[ ]password|set[ ]password[ ]?=)[ ][\"'](?P<value>[^\"'\n]{4,200})[\"']",
            _SURE,
        ),
        ("tag", rf"<[A-Za-z_:]{{0,30}}{_WORD}>(?P<value>[^<>\n]{{4,400}})</", _SURE),
        # Twelve to twenty-four words open a wallet (BIP 39).
        (
            "recovery phrase",
            r"(?:seed|recovery|mnemonic|wallet|backup)[ ](?:seed[ ])?(?:phrase|words)(?:[ ](?:is|are"
            r"|was))?[ :=\"'\n]{1,4}"
            r"(?P<value>(?:[a-z]{3,8}[ ,]{1,2}){11,23}[a-z]{3,8})",
            LIKELY,
        ),
        (
            "said",
            r"(?:password|passcode|passphrase|api[ ]?key|secret(?:[ ]key)?|(?:access|auth|bearer)?[ ]?token|pwd"
            r"|(?<![a-z])pw"
            r"|log-?in(?:[ ]details)?|credentials)(?![a-z])(?:[ ](?:for|to|of|on"
            r"|in)(?:[ ][\w.'-]{1,24}){1,6}?)?[ ,]{0,2}"
            r"(?:(?:which[ ])?(?:is|was|to|as|are|being|will[ ]be|should[ ]be|has[ ]been[ ](?:set|changed"
            r"|reset)[ ]to|changed[ ]to"
            r"|set[ ]to|reset[ ]to|reads)|:|-|–|—)[ ]+(?:still[ ]|now[ ]"
            r"|just[ ])?[\"'`(*]{0,3}(?P<value>[^\s\"'`]{4,200})",
            LIKELY,
        ),
        (
            "said before",
            r"(?:use|enter|type|try|with)[ ][\"'`]?(?P<value>[^\s\"'`,]{6,100})[\"'`]?[ ](?:as|for|is)[ ]"
            r"(?:the[ ]|your[ ]|my[ ]|a[ ])?(?:temporary[ ]|new[ ])?(?:password|passcode|api[ ]?key|token|pin"
            r"|pwd)",
            LIKELY,
        ),
        (
            "said in Korean",
            r"(?:비밀\s?번호|패스워드|암호|비번|인증\s?키|API\s?키|시크릿\s?키?|토큰|접근\s?키|비밀\s?키)(?:는"
            r"|은|가|이|를|을)?(?:\s?\([^()\n]{1,20}\)(?:는|은|가|이)?)?(?:[ ]?\d자리(?:는|은|가)?)?"
            r"[ ]{0,2}[:=→]?[ ]{0,2}(?:다음과[ ]같습니다|아래와[ ]같습니다)?[:.]?\s{0,2}[\"'(\[「]?"
            r"(?P<value>[!-~]{4,200}?)"
            r"(?=[가-힣](?<![년자회일월개원번명차분초시글])|[\s\"')\]」,]|$)",
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
        r"://|-----BEGIN|(?i:sess(?:ion)?[_-]?id|connect\.sid|[cx]srf[_-]?token|impdp|expdp)|(?i:pass|contrase"
        r"|mot de|pwd|psw|(?<![a-z])pw(?![a-z])|secret|token|api[ _-]?key"
        r"|access[ _-]?key"
        r"|private[_-]?key|[a-z]_?-?key[\"' ]{0,2}[:=]|credential|bearer|auth[ _-]?key|encryption[ _-]?key"
        r"|account[ _-]?key"
        r"|signing[ _-]?key|master[ _-]?key|license[ _-]?key|subscription[ _-]?key|log-?in|identified by"
        r"|(?:seed|recovery|mnemonic|wallet|backup) |ldap|curl |wget |mysql|maria|redis-cli|mongo|sqlplus|bcp "
        r"|sqlcmd|psql|kinit"
        r"|authorization|x-a|jdbc:|cv[vcn]|pin[ :=은는])"
        r"|비밀|패스워드|암호|비번|키|토큰|시크릿|AKIA|ASIA|AROA|AIDA|gh[pousr]_|github_pat"
        r"|glpat|sk-|k_live|k_test|xox"
        r"|AIza|ya29|SG\.|hf_|npm_|pypi-|dop_v1|shp|whsec|rzp_|EAAC|sq0|eyJ"
    )
    _WANT_LOOK = ("assigned", "said", "flag")

    def narrowed(self, text: str, start: int, end: int, pattern: Pattern) -> tuple[int, int]:
        """Without the full stop and the bracket of the sentence around it."""
        if pattern.name in ("assigned", "said", "said before", "flag", "said in Korean"):
            while (
                end - start > 4
                and text[end - 1] in ".,;:)]}*"
                and not (
                    text[end - 1] in ")]}" and text.count({")": "(", "]": "[", "}": "{"}[text[end - 1]], start, end)
                )
            ):
                end -= 1
        return start, end

    def judge(self, text: str, start: int, end: int, pattern: Pattern) -> float:
        value = text[start:end]
        if pattern.name.startswith(("assigned", "said", "authorization", "setting", "flag", "tag", "of a database")):
            if _STAND_IN.fullmatch(value):
                return 0.0
            sure = pattern.name in ("assigned in quotes", "authorization", "tag", "of a database")
            if (
                pattern.name == "assigned in quotes"
                and text[start - 2 : start - 1] == ","
                and not _unlike_a_word(value)
            ):
                return 0.0
            if pattern.name == "setting":
                sure = value[0] not in "({" and (len(value) >= 6 or _unlike_a_word(value))
            if not sure and not _unlike_a_word(value):
                return 0.0
        if pattern.name == "address with a password" and _PLACE_HOLDER.fullmatch(
            value.split("://", 1)[1].split(":", 1)[1].rsplit("@", 1)[0]
        ):
            return 0.0
        return pattern.score


_PLACE_HOLDER = re.compile(r"\$\{?\w+\}?|\{\w*\}|<[^<>]*>|\*+|[xX]+|(?i:password|passwd|pass|pwd|secret)", re.ASCII)
_TURNS = re.compile(r"[a-z][A-Z]")
_CLUSTER = re.compile(r"[bcdfghjklmnpqrstvwxz]{5}", re.IGNORECASE)


def _unlike_a_word(value: str) -> bool:
    """Whether a value is what no word of a sentence and no name in a program is.

    A digit beside letters or signs, a sign inside, capitals strewn in, five consonants in a row, three words or more in
    hyphens.
    """
    core = value.strip(".,!?:()")
    letters, figures = any(map(str.isalpha, core)), any(map(str.isdigit, core))
    sign = any(not character.isalnum() and character not in "-'._/,;" for character in core[1:-1])
    if (figures and (letters or sign or len(core) >= 4)) or (letters and sign):
        return not _CALL.match(core)
    if not core.isascii() or not letters:
        return len(core) >= 6 and not core.isalpha() and sign
    turns = len(_TURNS.findall(core))
    if len(core) >= 8 and (turns >= 3 or re.search(r"[a-z][A-Z]{2,}[a-z]|^[A-Z]{2,}[a-z].*[A-Z]", core)):
        return True
    if len(core) >= 8 and _CLUSTER.search(core):
        return True
    if core.count("-") + core.count("_") + core.count(".") >= 1 and turns >= 1 and len(core) >= 8:
        return True
    return core.count("-") >= 3 or bool(
        len(core) >= 7 and value[-1] in "!?#$%&@^" and len(value) - len(core) <= 3 and turns
    )


_CALL = re.compile(r"[A-Za-z_][\w.]*(?:\(|\[[\"'])")
