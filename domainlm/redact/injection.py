"""Prompt injection: text that addresses the model instead of the reader (OWASP LLM01:2025, indirect injection).

A source that strangers can write to (`trusted: false`) may carry orders that a model would learn to obey. `injection`
says whether a text does, by a reason code and never by the text itself. It looks at the folded text, where full-width
and invisible characters hide nothing, and at what is encoded in it: tag characters, HTML entities, percent signs,
base64. Patterns ask for the whole figure of speech (ignore + previous + instructions), because single words of it are
daily bread in a bank: payment instructions are disregarded, guidelines repealed, systems prompt for passwords.

Every gap in a pattern is bounded and no quantifier is nested, so the time grows with the length of the text alone.
"""

from __future__ import annotations

import base64
import binascii
import html
import re
from collections.abc import Iterator
from itertools import pairwise
from urllib.parse import unquote

from domainlm.redact.folding import fold

OVERRIDE, PERSONA, TEMPLATE, REVEAL, EXFILTRATION, ADDRESSED, HIDDEN = (
    "injection-override", "injection-persona", "injection-template", "injection-reveal", "injection-exfiltration",
    "injection-addressed", "injection-hidden",
)  # fmt: skip
REASONS = (OVERRIDE, PERSONA, TEMPLATE, REVEAL, EXFILTRATION, ADDRESSED, HIDDEN)

DECODINGS = 2  # base64 of a percent-encoded order is decoded; more layers than this nobody reads, not even a model
_GAP = r"[^.]{0,40}?"  # inside one sentence of the plain words

# ---------------------------------------------------------------------------------------------- who and what

_MODEL = (
    r"(?:ais?(?: (?:models?|agents?|systems?|tools?|assistants?|reviewers?|readers?|screeners?|bots?))?|llms?|gpts?"
    r"|chatgpt|claude|gemini|copilot|llama|chat ?bots?|bots?|(?:large )?language models?|(?:virtual )?assistants?)"
)
_ORDERS = (
    r"(?:instructions?|directions?|directives?|guidelines?|rules?|commands?|prompts?|programming|training|constraints?"
    r"|restrictions?|polic(?:y|ies)|system messages?)"
)
_EARLIER = r"(?:previous|prior|preceding|earlier|above|foregoing|former|initial|original|existing|past|old)"
_SECRET = (
    r"(?:system prompts?(?! the| you| for| to)|system messages?|(?:hidden|initial|original|secret|internal|underlying)"
    r" (?:system )?(?:prompts?|instructions?|rules|guidelines)|your (?:\w+ )?(?:prompts?|instructions|guidelines|rules)"
    r"|(?:developer|pre) ?prompts?)"
)
_SHOW = (
    r"(?:reveal|print|show|output|repeat|display|disclose|leak|expose|recite|dump|tell (?:me|us)|give (?:me|us)"
    r"|what(?: (?:is|are|was|were)| s)(?: in)?|write (?:out|down)|copy|spell out|translate|quote)"
)
_IMPERATIVE = (
    r"(?:please |always |do not |don t |never |you (?:must|should|shall|will) )?"
    r"(?:tell|say|rate|rank|output|print|recommend|approve|answer|reply|respond|ignore|mention|classify|mark|score"
    r"|summari[sz]e|write|give|send|call|reveal|forget|disregard|praise|treat|state|conclude|click|hire"
    r"|promote|accept|choose|prefer|add|include|consider)"
)

# ------------------------------------------------------------- figures of speech, in the plain words of a text

_WORDS: tuple[tuple[str, str], ...] = (
    # ignore all previous instructions; do not follow your rules
    (
        OVERRIDE,
        r"\b(?:ignore|disregard|forget|neglect|override|overrule|bypass|dismiss|discard|circumvent"
        r"|stop (?:following|obeying)"
        r"|(?:do not|don t|never) (?:follow|obey|heed|listen to|adhere to)|pay no (?:attention|heed) to) "
        rf"(?:(?:all|any|every|each|the|of|these|those|that|what|whatever|both|and|my|our|your|its) ){{0,5}}"
        rf"(?:(?:{_EARLIER}|system|safety|developer|content|ethical|your) (?:(?:and|or|system"
        rf"|safety|set|of|user|developer) ){{0,3}})"
        rf"{{1,3}}{_ORDERS}\b",
    ),
    (
        OVERRIDE,
        r"\b(?:scrap|set aside|abandon|drop|break|erase|delete|skip|violate|reject|unlearn|cease following|wipe|undo)"
        r" (?:(?:all|any|every|the|of|these|those) ){0,4}"
        rf"(?:{_EARLIER} (?:system )?(?:instructions|prompts?|commands|programming)|your (?:\w+ )?{_ORDERS})\b",
    ),
    (
        OVERRIDE,
        rf"\b{_ORDERS} (?:\w+ ){{0,2}}(?:no longer|do not|don t|cease to) (?:apply|bind|concern"
        r"|hold)(?: to| for)? you\b",
    ),
    (
        OVERRIDE,
        r"\b(?:whatever|what|everything) you(?: have| ve)? (?:been|were) (?:told|programmed"
        r"|instructed|trained)[^.]{0,30}"
        r"(?:set|put|leave|forget|ignore|no longer)",
    ),
    (OVERRIDE, r"\bsudo (?:ignore|forget|disregard|override|reveal|print)\b"),
    (OVERRIDE, r"\big\w{2,6} (?:al+|any) (?:the |your |of )?(?:your )?pr\w{3,9} in\w{6,12}\b"),  # misspelt
    (
        OVERRIDE,
        rf"\b(?:ignore|disregard|forget|override) (?:(?:all|any|every|the|these|those|of|your|my) ){{0,4}}{_ORDERS}"
        r" (?:above|before|so far|you (?:have|were|had|received|got)|i gave|given (?:above"
        r"|before|earlier|to you)|from (?:the )?(?:system|developer|before))",
    ),
    (OVERRIDE, rf"\b(?:ignore|disregard|forget) your {_ORDERS}\b"),
    (
        OVERRIDE,
        r"\b(?:ignore|disregard|forget|erase) (?:everything|anything|all|what(?:ever)?) (?:that )?"
        r"(?:(?:you (?:were|have been|ve been|had been)|i(?: have| ve)?|they|the (?:developer|system|user)|we)"
        r"(?: have)? (?:told|said|instructed|taught|given)(?! about| on| by)|(?:said |written"
        r" |stated )?(?:above|before this))",
    ),
    (
        OVERRIDE,
        r"\b(?:do not|don t|never) (?:listen to|believe|trust|follow|obey) (?:what |anything )?(?:the )?"
        r"(?:developers?|system|your (?:creators?|developers?|makers?)|openai|anthropic)\b",
    ),
    (
        OVERRIDE,
        rf"\b{_EARLIER} {_ORDERS} (?:you (?:received|were given|got) )?(?:earlier )?(?:are|is"
        r"|were) (?:now |all |hereby )?"
        rf"(?:void|null|invalid|cancell?ed|revoked|suspended|obsolete|overridden|superseded|lifted)[^.]{{0,20}}\. "
        rf"(?:(?:now )?follow|new {_ORDERS}|your new|from now|instead|here)",
    ),
    (
        OVERRIDE,
        rf"\b{_ORDERS} (?:that )?you (?:received|were given|got|have)(?: \w+){{0,2}} (?:are|is|were) (?:now )?"
        r"(?:void|null|invalid|cancell?ed|revoked|obsolete|overridden|superseded)",
    ),
    (OVERRIDE, rf"\b(?:follow|obey) (?:only )?(?:these|my|the following) (?:new |other )?{_ORDERS} instead\b"),
    (
        OVERRIDE,
        rf"\byour (?:new|only|sole|real|true|actual) (?:{_ORDERS}|task|job|goal|objective|role"
        r"|purpose|mission) (?:is|are)\b",
    ),
    (
        OVERRIDE,
        r"\b(?:now|here is|here s) (?:comes )?(?:the|your) (?:real|actual|true|new) (?:task"
        r"|instructions?|prompt)\b",
    ),
    # fr, de, es, it, nl; zh, ja
    (
        OVERRIDE,
        r"\b(?:ignor(?:e[rz]?|ons)|oublie[rz]?|néglige[rz]?) (?:(?:toutes?|tous|les|des|vos|tes|ces) ){0,3}"
        r"(?:instructions|consignes|directives|règles|ordres) (?:précédente?s|antérieure?s|ci dessus|données)",
    ),
    (
        OVERRIDE,
        r"\b(?:ignorieren?|vergiss|vergessen|missachten?|verwirf|überge(?:h|hen))(?: sie)? "
        r"(?:bitte )?(?:(?:alle|die|deine|ihre|sämtliche|aller) ){0,3}"
        r"(?:vorherigen|bisherigen|obigen|vorigen|früheren|vorangegangenen|ursprünglichen) (?:\w+ )?"
        r"(?:anweisungen|instruktionen|befehle|regeln|vorgaben|eingaben|anordnungen|prompts?)",
    ),
    (
        OVERRIDE,
        r"\b(?:ignor[ae]|olvid[ae]|descart[ae]|haz caso omiso de) (?:(?:todas?|todos|las|los|tus|sus) ){0,3}"
        r"(?:instrucciones|órdenes|reglas|indicaciones|directrices) (?:anteriores|previas|precedentes|de arriba)",
    ),
    (
        OVERRIDE,
        r"\b(?:ignora(?:re|te)?|dimentica(?:re|te)?|trascura(?:re|te)?|tralascia) (?:(?:tutte"
        r"|tutti|le|gli|i|tue|vostre) ){0,3}"
        r"(?:istruzioni|regole|indicazioni|direttive|comandi|ordini) (?:precedenti|anteriori|di prima|sopra)",
    ),
    (
        OVERRIDE,
        r"\b(?:negeer|vergeet) (?:(?:alle|de|al|je|uw|jouw) ){0,3}(?:vorige|eerdere|voorgaande"
        r"|bovenstaande|voorafgaande) "
        r"(?:instructies|opdrachten|regels|aanwijzingen|bevelen)",
    ),
    (
        OVERRIDE,
        r"(?:忽略|无视|忘记|忽視|無視)[^.]{0,6}(?:之前|以上|先前|前面|上述|此前|所有)[^.]{0,8}"
        r"(?:指令|指示|说明|提示|規則|规则)",
    ),
    (OVERRIDE, r"(?:以前|これまで|上記|今まで|前)の[^.]{0,6}(?:指示|命令|ルール|プロンプト)[^.]{0,6}(?:無視|忘れ)"),
    # who the model shall be
    (
        PERSONA,
        rf"\byou (?:are|re|will be) (?:now|no longer|henceforth|from now on) (?:(?:\w+ ){{0,5}}{_MODEL}\b"
        r"|dan\b|bound by|restricted by|limited by)",
    ),
    (
        PERSONA,
        r"\b(?:from (?:now|here|this point|this moment)(?: on| onwards?| forward)?|henceforth"
        r"|starting now) you (?:will |must |shall |are to |should |can )?"
        r"(?:only |always |never )?(?:act|behave|pretend|respond|answer|speak|roleplay|simulate"
        r"|obey|comply|ignore|(?:are|be) (?:an? )?(?:\w+ )?"
        rf"{_MODEL})\b",
    ),
    (
        PERSONA,
        r"\b(?:pretend|imagine|suppose|assume|simulate)(?: that)?(?: you (?:are|re|were)| to"
        rf" be| being)? (?:(?:\w+ ){{0,3}}{_MODEL}\b[^.]{{0,20}}(?:\bno\b|\bnot\b|without|never"
        r"|unrestricted|jailb|uncensored)|dan\b)",
    ),
    (
        PERSONA,
        r"\bpretend (?:that )?you (?:are|re|were|have) (?:not |no |an? (?:unrestricted|evil"
        r"|uncensored|unfiltered))",
    ),
    (PERSONA, r"\bact as (?:(?:if|though) you (?:are|were|re|had no)|my (?:\w+ )?(?:grandmother|grandma|grandfather))"),
    (
        PERSONA,
        r"\b(?:act|behave|respond|answer|speak|operate) (?:as|like) (?:an? |the )?(?:\w+ )?(?:unrestricted"
        r"|unfiltered|uncensored|evil|jailbroken|rogue)\b",
    ),
    (
        PERSONA,
        r"\b(?:enter|enable|activate|switch(?: in)?to|turn on|start) (?:the )?(?:developer"
        r"|dev|god|jailbreak|dan|debug|sudo|unrestricted|admin(?:istrator)?) mode\b",
    ),
    (PERSONA, r"\bjailb(?:roken|reak(?:ed|ing)?) (?:\w+ )?(?:ai|model|assistant|chatbot|llm|mode|prompt)"),
    (
        PERSONA,
        rf"\b{_MODEL} (?:\w+ ){{0,3}}(?:without|with no|free of) (?:any )?(?:restrictions?|filters?|limits"
        r"|limitations|rules|censorship|guardrails|content polic)",
    ),
    (PERSONA, rf"\bas (?:an?|the) {_MODEL} you (?:have|must|will|should|are|shall|can)\b"),
    (
        PERSONA,
        r"\byou (?:now )?have no (?:\w+ )?(?:filters?|restrictions?|guidelines|content policy"
        r"|guardrails|ethical)\b",
    ),
    (
        PERSONA,
        r"\b(?:play|take on|assume|adopt|embody)(?:ing)? the (?:role|persona|part|character|identity) of (?:\w+ ){0,4}"
        rf"{_MODEL}\b",
    ),
    (
        PERSONA,
        rf"\byou (?:are|re) (?:\w+ ){{0,2}}(?:an? |the )?(?:\w+ )?{_MODEL} (?:s evil|(?:that|which|who|with|without)"
        r" (?:\w+ )?(?:no|any|never|broken|breaks|ignores|limits|rules)\b)",
    ),
    (
        PERSONA,
        rf"\bas (?:if|though) you (?:had|have) (?:no|never) (?:\w+ )?(?:{_ORDERS}|limits|filters"
        r"|ethics|morals)\b",
    ),
    (
        PERSONA,
        rf"\b{_MODEL} that (?:has|have|had) (?:no (?:\w+ )?(?:limits|filters|{_ORDERS})|broken free|escaped)",
    ),
    # what it shall show
    (
        REVEAL,
        rf"\b{_SHOW} (?:(?:me|us|out|the|all|of|your|its|a|full|complete|entire|exact|current"
        rf"|own|contents?|text|copy) ){{0,6}}{_SECRET}",
    ),
    (
        REVEAL,
        rf"\b{_SHOW} (?:(?:the|all|of|me) ){{0,3}}(?:everything|anything|text|words|lines|content"
        r"|conversation|message)s? (?:written |said )?(?:above|before this)(?! [\d$€£₩])(?:"
        rf" this| that| the)?[^.]{{0,30}}(?:verbatim|word for word|exactly|including|starting"
        r"|line|prompt|instructions)",
    ),
    (
        REVEAL,
        rf"\b(?:{_SHOW}|send|list|read)[^.]{{0,40}}\b(?:api keys?|passwords?|secrets?|credentials"
        rf"|tokens?|account numbers|card numbers|data|names)[^.]{{0,30}}\b(?:in your (?:environment"
        r"|memory|context|training|prompt|config\w*|weights|data)|you (?:remember|memori[sz]ed"
        r"|were trained on|have seen in training))",
    ),
    (REVEAL, r"\byour system (?:prompt|message|instructions)\b"),
    (REVEAL, r"\b(?:words|lines|sentences|contents?|text|part) of your (?:\w+ )?(?:prompt|instructions)\b"),
    (
        REVEAL,
        rf"\b{_SHOW}[^.]{{0,30}}\b(?:{_ORDERS}) (?:that )?you (?:were|have been|ve been) "
        r"(?:given|told|trained|programmed)",
    ),
    # what it shall hand out
    (
        EXFILTRATION,
        r"\b(?:send|e mail|email|post|forward|upload|transmit|exfiltrate|leak|append|submit"
        r"|copy|deliver|encode)[^.]{0,20}\b(?:conversation|chat|dialog(?:ue)?|system prompt"
        r"|context window|prompt|session)s?(?: \w+){0,3} (?:to|as|into|at)\b",
    ),
    (
        EXFILTRATION,
        r"\b(?:send|e mail|email|post|forward|upload|exfiltrate|leak)[^.]{0,40}\b(?:you (?:can"
        r"|could) (?:see|access|find|read|remember)|you have access to|in your (?:context|memory))",
    ),
    (
        EXFILTRATION,
        r"\b(?:append|add|attach|insert|encode|put|embed|include|place|hide)[^.]{0,40}\b(?:to|in|into|as) (?:this"
        r"|the|a|an) (?:\w+ ){0,2}(?:url|link|query|image|markdown)\b",
    ),
    (
        EXFILTRATION,
        r"\b(?:when|once|if|after) you (?:read|see|process|parse|summari[sz]e|reach|encounter)"
        r" this\b[^.]{0,60}\b(?:call|invoke|send|transfer|execute|run|say|reply|answer|write"
        r"|visit|open|delete|buy|sell|state|output)\b",
    ),
    (
        EXFILTRATION,
        r"\b(?:call|invoke|trigger|execute) (?:the |your )?\w+ (?:tool|plugin|function call"
        r"|api)\b[^.]{0,30}\b(?:with|using|and|to)\b",
    ),
    (
        EXFILTRATION,
        r"\buse your (?:\w+ ){0,2}(?:tool|plugin|function|browser|interpreter|terminal)s? to\b",
    ),
    (EXFILTRATION, r"\bpaste [^.]{0,30}\bcontents? (?:in|into|to) your (?:reply|answer|response|output)\b"),
    # speaking to it, about the reader
    (ADDRESSED, rf"\bif you (?:are|re) (?:an? |the )?(?:\w+ )?{_MODEL}\b"),
    (
        ADDRESSED,
        r"\b(?:notes?|message|attention|notice|dear|hey|hello|instructions?|reminder|memo|warning"
        rf"|important)(?: (?:to|for))?(?: (?:any|all|every|the|each|you|to|for)){{0,3}} {_MODEL}\b"
        r"(?: (?:reading|processing|that|who|which|parsing|reviewing|you|please|do|must|say"
        r"|rate|rank|whatever|forget|ignore|only|reply|answer|respond|output|tell)|$| \.)",
    ),
    (
        ADDRESSED,
        rf"\b{_MODEL} (?:(?:that|who|which) )?(?:is |are |now |currently )?(?:read(?:s|ing)?|process"
        r"(?:es|ing)?|pars(?:es|ing)"
        r"|evaluat(?:es|ing)|summari[sz](?:es|ing)|review(?:s|ing)?|screen(?:s|ing)?|translat(?:es|ing)) (?:this|these)"
        r" (?:pages?|texts?|documents?|messages?|e?mails?|websites?|sites?|applications?|resumes?|cvs?|reviews?|posts?"
        r"|comments?|notes?|articles?|files?|letters?|lines?|paragraphs?|sentences?|threads?)\b",
    ),
    (
        ADDRESSED,
        rf"\b(?:the|this|any|every) {_MODEL} (?:must|should|shall|has to|have to|is (?:required"
        rf"|instructed|ordered) to|will) (?:now |always |only |never )?{_IMPERATIVE}",
    ),
    (
        ADDRESSED,
        r"\b(?:do not|don t|never) (?:mention|reveal|disclose|show|repeat|acknowledge|report)"
        r" (?:this|these|the above|that) (?:hidden )?(?:instructions?|messages?"
        r"|paragraphs?|notes?|prompts?|texts?|sentences?|commands?|lines?)\b",
    ),
    (
        ADDRESSED,
        r"\b(?:do not|don t|never|without) (?:tell(?:ing)?|inform(?:ing)?|warn(?:ing)?|alert"
        r"(?:ing)?|notify(?:ing)?|let(?:ting)?) the user\b",
    ),
    (
        ADDRESSED,
        r"\b(?:no matter|regardless of|whatever) what (?:you are|you re|is|they|the user|the"
        r" customer|anyone)[^.]{0,20}ask",
    ),
    (
        ADDRESSED,
        r"\bwhatever (?:the (?:user|customer|client)|anyone|they) (?:asks?|says?|wants?) (?:you"
        r" )?(?:always |only |just )?(?:answer|reply|respond|say|tell|output)",
    ),
    (
        ADDRESSED,
        r"\b(?:respond|reply|answer)(?: (?:only|simply|just|solely|exclusively|always)| ){1,2}"
        r"(?:with|that|by)(?: saying)? (?:the (?:string|word|phrase|token|text|sentence)|yes"
        r"|approved|pwned)\b",
    ),
    (ADDRESSED, r"\b(?:output|print|say|write)(?: only| just| exactly)? the (?:string|word|phrase|token) (?:\w+)"),
    (
        ADDRESSED,
        r"\b(?:say|state|conclude|write|confirm|claim) that (?:the|this) (?:candidate|applicant"
        r"|seller|product|company|issuer|borrower)[^.]{0,40}\b(?:excellent|best|perfect|top"
        r"|strongest|ideal)[^.]{0,20}\. (?:this is|do not|ignore)",
    ),
    (TEMPLATE, r"\b(?:begin|start|end|new|begin of|end of)(?: of)?(?: the)? system (?:message|prompt|instructions?)\b"),
    # Korean; the words keep their particles
    (
        OVERRIDE,
        r"(?:이전|앞선|앞의|앞서|위의?|상기|지금까지|여태|기존|모든|초기|원래)[^.]{0,12}"
        r"(?:지시|명령|지침|규칙|프롬프트|가이드라인|프로그래밍"
        r"|설정)[^.]{0,12}(?:무시 ?(?:하고|하세요|하라|하시|하십|해|하며|바랍)|잊(?:고|어"
        r"|으)|무효|따르지 ?(?:말|마)|버리고|버려)",
    ),
    (OVERRIDE, r"새로운 ?(?:지시|명령|지침)(?:사항)?(?:을|를|은|는)? ?(?:따르|따라|수행|다음과)"),
    (
        PERSONA,
        r"(?:(?:너는|넌|당신은|네가) ?(?:이제|지금|앞으로)(?:부터)?|(?:이제|지금|앞으로)"
        r"(?:부터)? ?(?:너는|넌|당신은))[^.]{0,30}"
        r"(?:\bai|인공지능|언어 ?모델|챗봇|어시스턴트|비서|로봇|dan\b|봇이)",
    ),
    (
        PERSONA,
        r"(?:개발자|관리자|탈옥|디버그|\bdan|신) ?모드(?:로|를|에)? ?[^.]{0,8}(?:전환|활성"
        r"|진입|들어가|켜|시작)[^.]{0,16}"
        r"(?:필터|제한|해제|하라|해$|해 |하세요|하십|답)",
    ),
    (
        PERSONA,
        r"(?:제한|규칙|필터|검열)(?:이|가)? ?(?:없는|없이|해제된) ?(?:\w+ )?(?:ai|인공지능"
        r"|챗봇|모델|어시스턴트)",
    ),
    (
        REVEAL,
        r"(?:시스템 ?(?:프롬프트|메시지)|(?:초기|숨겨진|내부|원래) ?(?:지침|지시|설정|프롬프트"
        r"|명령)(?:사항)?|(?:너의|네|당신의) ?(?:\w+"
        r" )?(?:지침|지시|프롬프트|규칙)(?:사항)?)(?:을|를|은|는|이|가)? ?(?!창)[^.]{0,12}(?:출력|알려|공개 ?(?:하|해)"
        r"|보여|말해|말하|드러내|복사|반복|적어|뭐)",
    ),
    (
        EXFILTRATION,
        r"(?:대화|채팅) ?(?:내용|기록|내역|이력)?(?:을|를)? [^.]{0,20}(?:https?|url|이메일|메일|링크|주소)[^\n]{0,40}"
        r"(?:전송|보내|올려|업로드|첨부)",
    ),
    (
        ADDRESSED,
        r"(?:이|본|다음) ?(?:글|문서|페이지|텍스트|이력서|메시지|문장|내용)(?:을|를) ?(?:읽"
        r"|처리하|요약하|분석하|평가하)는 ?(?:모든"
        r" ?)?(?:ai|인공지능|(?:언어 ?)?모델|챗봇|어시스턴트)",
    ),
    (
        ADDRESSED,
        r"(?:ai|인공지능|챗봇|언어 ?모델|어시스턴트)(?:에게|께|는|은|야|아)? ?[^.]{0,6}(?:지시"
        r"|명령)(?:한다|합니다|사항)",
    ),
    (
        ADDRESSED,
        r"사용자에게(?:는)? ?[^.]{0,15}(?:언급|말|알리|알려|밝히|공개)(?:하)?지 ?(?:말고"
        r"|마세요|마십|말라|마라|말 것|말아|마\b)",
    ),
    (
        OVERRIDE,
        r"(?:앞에서|위에서|이전에|아까|전에|처음에)[^.]{0,12}(?:지시|명령|지침|규칙|프롬프트)[^.]{0,14}"
        r"(?:무시|잊|따르지 ?(?:말|마))",
    ),
    (
        OVERRIDE,
        r"(?:이제|지금|앞으로)부터[^.]{0,8}(?:모든|일체의) ?(?:제한|규칙|필터|지침)(?:을"
        r"|를|이|은)? ?(?:해제|무시|없|잊)",
    ),
    (
        PERSONA,
        r"(?:너는|넌|당신은) ?(?:더 ?이상|이제)[^.]{0,16}(?:ai|인공지능|모델|챗봇|어시스턴트"
        r"|비서|상담원|도우미)(?:이|가)?"
        r" ?(?:아니|아닙)",
    ),
    (
        REVEAL,
        r"프롬프트(?:에|의|를)? ?(?:적힌|있는|담긴|들어 ?있는)? ?(?:내용|전문|전체)?(?:을|를)? ?[^.]{0,8}"
        r"(?:복사|출력|붙여 ?넣|그대로 (?:보여|적어|말))",
    ),
    (
        ADDRESSED,
        r"(?:\bai|인공지능|챗봇|언어 ?모델|어시스턴트)(?: ?[가-힣]{2,4})?(?:님|야|아|에게)[^.]{0,40}"
        r"(?:하라|해라|(?:해|하여) ?주(?:세요|십시오|시기)|하세요|하십시오|하시오|할 것|해줘)",
    ),
    (
        ADDRESSED,
        r"(?:\bai|인공지능|챗봇|언어 ?모델|어시스턴트)(?:은|는) ?반드시[^.]{0,30}(?:추천"
        r"|승인|답변|대답|평가|출력)(?:해|하여)야",
    ),
    (ADDRESSED, r"(?:지시|명령|내용|문장)(?:을|를)? ?사용자에게 ?(?:숨기고|숨겨|감추)"),
)  # fmt: skip

# ------------------------------------------------------------------ signs that need their punctuation

_SIGNS: tuple[tuple[str, str], ...] = (
    (TEMPLATE, r"<\|[a-z_]{2,24}\|>|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>|<s>\s{0,3}\[INST|</s>\s{0,3}<s>"),
    (TEMPLATE, r"</?(?:system|assistant|developer)(?:[_-](?:prompt|message|instructions?))?>"),
    (
        TEMPLATE,
        r"(?m)^\s{0,8}#{2,4} {0,3}(?:instructions?|response|system(?: prompt| message)?|human"
        r"|assistant) {0,3}:",
    ),
    (TEMPLATE, r"[\"']role[\"']\s{0,4}:\s{0,4}[\"'](?:system|assistant|developer)[\"']"),
    (
        TEMPLATE,
        r"(?m)^\s{0,8}(?:human|user|system) {0,3}:[^\n]{0,400}\n(?:[^\n]{0,400}\n){0,3}?\s{0,8}"
        r"(?:assistant|ai) {0,3}:",
    ),
    (TEMPLATE, r"\[/?(?:system|assistant|inst)(?: (?:message|prompt))?\]"),
    (TEMPLATE, r"(?-i:SYSTEM (?:OVERRIDE|PROMPT|MESSAGE|INSTRUCTIONS?|DIRECTIVE)) {0,2}:"),
    (
        ADDRESSED,
        rf"(?m)(?:^|[.!?>\n])\s{{0,4}}(?:hey |hi |hello |dear )?(?:{_MODEL}) {{0,2}}[,:] {{0,3}}"
        rf"{_IMPERATIVE.replace('don t', 'don.t')}\b",
    ),
    (
        ADDRESSED,
        r"\b(?:instructions?|notes?|messages?|attention|reminder|memo|notice|to)\s{1,3}(?:to |for )?(?:the |any |all )?"
        rf"{_MODEL}(?: (?:reviewer|reader|screening|reviewing|grading|reading|processing)[^:,.\n]{{0,30}})? {{0,2}}:",
    ),
)  # fmt: skip
_TURN = re.compile(r"\b(user|human|assistant|ai) {0,3}:", re.IGNORECASE)
_WIDE = (
    rf"\b{_MODEL}\b|\b(?:ignore|disregard|forget|instructions?|prompt|you must|you should|tell the|recommend|approve"
    r"|rate this|rank this)\b|지시|무시|인공지능|추천하|승인하"
)  # what hidden text needs to say to be an order

_FLAG = "\U0001f3f4"  # flags of regions are spelt with tag characters
_TAGGED = re.compile(f"({_FLAG}?)([\U000e0020-\U000e007e]+)")
_SMUGGLED = re.compile("[\u200b-\u200f\u2060-\u2064\ufeff]{12,}|[\U000e0100-\U000e01ef]{4,}")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{24,}={0,2}")
_PERCENT = re.compile(r"%[0-9A-Fa-f]{2}")
_SPACED = re.compile(r"(?<!\w)\w(?: \w(?!\w)){2,}")
_LEET = re.compile(  # a digit or sign within letters: 1gn0re, prev1ous
    r"\b(?:[a-z]{1,12}[01345@$]{1,2}|[01345@$][a-z])[a-z]{1,12}(?:[01345@$]{1,2}[a-z]{1,12}){0,3}\b", re.IGNORECASE
)
_LEET_LETTERS = str.maketrans("01345@$", "oieasas")
_STOP, _OTHER = re.compile(r"[.!?;\n\r\u3002]+"), re.compile(r"[^\w.]+|_+")
_ELEMENT = re.compile(r"<[a-z][^<>]{0,600}>", re.IGNORECASE)
_CONCEALS = re.compile(
    r"display ?: ?none|visibility ?: ?hidden|font-size ?: ?0|opacity ?: ?0(?![.\d])|\shidden(?=[\s>=])"
    r"|[;\"' ]color ?: ?(?:white|#fff)|(?:left|top|text-indent) ?: ?-\d{3}",
    re.IGNORECASE,
)
_INSIDE = re.compile(r"[^<]{1,2000}")
# Letters of other scripts that look like Latin ones.
_LOOKALIKE = str.maketrans("аеорсхуіјѕԁһոαορνικ", "aeopcxyijsdhnaopvik")

_FIGURES = tuple((reason, re.compile(pattern)) for reason, pattern in _WORDS)
_MARKS = tuple((reason, re.compile(pattern, re.IGNORECASE)) for reason, pattern in _SIGNS)
_ORDER = re.compile(_WIDE)


def injection(text: str) -> str | None:
    """Whether a text tries to instruct the model that reads it.

    Args:
        text: as it stands in the source; neither folded nor redacted.

    Returns:
        A reason code out of `REASONS`, or None.
    """
    if _SMUGGLED.search(text) or any(_smuggles(tag[1], tag[2]) for tag in _TAGGED.finditer(text)):
        return HIDDEN
    for view in _views(text, DECODINGS):
        for reason, mark in _MARKS:
            if mark.search(view):
                return reason
        if _transcript(view):
            return TEMPLATE
        words = plain_words(view)
        for reason, figure in _FIGURES:
            if figure.search(words):
                return reason
        if any(_ORDER.search(plain_words(part)) for part in _concealed(view)):
            return HIDDEN
    return None


def plain_words(text: str) -> str:
    """The words of a folded text in small letters: one space between them, a full stop between sentences."""
    text = _SPACED.sub(lambda run: run[0].replace(" ", ""), text)
    text = _LEET.sub(lambda word: word[0].translate(_LEET_LETTERS), text)
    return _OTHER.sub(" ", _STOP.sub(" . ", text)).casefold().translate(_LOOKALIKE)


def _transcript(text: str) -> bool:
    """Turns of a made-up conversation in which the assistant has spoken already."""
    turns = ["assistant" if turn[1].lower() in ("assistant", "ai") else "user" for turn in _TURN.finditer(text)]
    changes = sum(turn != other for turn, other in pairwise(turns))
    return "assistant" in turns and changes >= 2


def _smuggles(flag: str, tagged: str) -> bool:
    """A flag has at most seven tag characters (a region's code and the end); what is longer is a text."""
    return len(tagged) > (7 if flag else 2)


def _views(text: str, depth: int) -> Iterator[str]:
    """The folded text, and what it says once decoded; as many decodings of decodings as `depth`."""
    folded = fold(text).text
    yield folded
    if not depth:
        return
    decoded = set()
    for spelling in {text, folded}:  # folding joins broken lines, and so may join base64 to what follows it
        if "&" in spelling:
            decoded.add(html.unescape(spelling))
        if _PERCENT.search(spelling):
            decoded.add(unquote(spelling, errors="replace"))
        decoded.add("\n".join(filter(None, (_decoded(run[0]) for run in _BASE64.finditer(spelling)))))
    for other in sorted(decoded - {text, folded, ""}):
        yield from _views(other, depth - 1)


def _decoded(run: str) -> str:
    """The text that a run of base64 stands for; empty where it stands for none."""
    body = run.rstrip("=").translate(str.maketrans("-_", "+/"))
    try:
        text = base64.b64decode(body + "=" * (-len(body) % 4)).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError):
        return ""
    return text if text.isprintable() or all(letter.isprintable() or letter.isspace() for letter in text) else ""


def _concealed(text: str) -> Iterator[str]:
    """What a browser would not show: comments, and the text of elements that are styled away."""
    start = text.find("<!--")
    while start >= 0 and (end := text.find("-->", start + 4)) >= 0:
        yield text[start + 4 : end]
        start = text.find("<!--", end)
    for element in _ELEMENT.finditer(text):
        if _CONCEALS.search(element[0]) and (inside := _INSIDE.match(text, element.end())):
            yield inside[0]
