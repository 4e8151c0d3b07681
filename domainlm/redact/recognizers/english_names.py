"""Names of persons in Latin letters by what surrounds them: titles, salutations, signatures, roles, kinship.

No model: a name that nothing announces is not found here; `names_nearby` finds some of those.
"""

from __future__ import annotations

from collections.abc import Iterator

from presidio_analyzer import Pattern

from domainlm.redact.recognizers.base import LIKELY, STRONG, CuedRecognizer
from domainlm.redact.settings import PERSON

UPPER = "A-ZÀ-ÖØ-ÞĀĂĄĆČĎĐĒĖĘĚĞĢĪĮİĶŁŃŅŇŌŐŒŘŚŞŠŢŤŪŮŰŲŸŹŻŽ"
LOWER = "a-zß-öø-ÿāăąćčďđēėęěğģīįıķłńņňōőœřśşšţťūůűųÿźżž"
# Anna, O'Brien, McDonald, Min-su, SMITH
_WORD = (
    rf"(?:[{UPPER}](?:'[{UPPER}])?[{LOWER}]+(?:[{UPPER}][{LOWER}]+)?(?:-[{UPPER}{LOWER}][{LOWER}]+)*"
    rf"|[{UPPER}]{{2,}}(?:['-][{UPPER}]{{2,}})*)(?![{UPPER}{LOWER}\d])"
)
_INITIAL = rf"[{UPPER}](?:\.(?:-?[{UPPER}]\.)*)?(?![{UPPER}{LOWER}\d'])"
_PARTICLE = r"(?:van der|van den|van de|van|von|de la|de|del|der|den|di|da|dos|du|la|le|al|bin|binti|ter|zu)"
_MORE = rf"(?:[ ](?:{_PARTICLE}[ ])?(?:{_WORD}|{_INITIAL}))"
NAME = rf"(?P<value>(?:{_INITIAL}[ ]?)*(?:{_PARTICLE}[ ])?{_WORD}{_MORE}{{0,3}})"
FULL_NAME = rf"(?P<value>(?:{_INITIAL}[ ]?)*{_WORD}{_MORE}{{1,3}}|(?:{_INITIAL}[ ]?)+{_WORD})"

_TITLE = r"(?:Mr|MR|Mrs|MRS|Ms|Mx|Messrs|Mister|Mme|Madame|Monsieur|Herr|Frau|Señor|Señora|Dr|DR|Prof|Professor)"
_GREETING = r"(?i:dear|hi|hello|hey|good (?:morning|afternoon|evening)|greetings)"
_FAREWELL = (
    r"(?i:(?:(?:best|kind|kindest|warm|warmest|with)[ ])?(?:regards|wishes)|yours(?:[ ](?:sincerely|faithfully|truly))?"
    r"|sincerely(?:[ ]yours)?|respectfully|cordially|(?:many[ ])?thanks(?:[ ](?:again|in advance|a lot|so much))?"
    r"|thank you"
    r"|cheers|best(?=[ ]?[,!\n-])|signed)"
)
# Roles that only persons have.
_ROLE = (
    r"(?i:(?:account|card|policy|plan)[ -]?holder|cardholder|policyholder|beneficiary|payee|co-?applicant"
    r"|co-?borrower|complainant"
    r"|signatory|caller|patient|emergency contact|contact person|account owner|spouse|next of kin)"
)
# Roles that companies have too: only on a form.
_FORM_ROLE = (
    r"(?i:payer|remitter|originator|sender|recipient|customer|client|applicant|borrower|guarantor|debtor|claimant"
    r"|insured|nominee"
    r"|trustee|employee|tenant|contact|relationship manager|advis[eo]r|account manager|attn|attention)"
)
_BEFORE_A_NAME = (
    r"(?i:(?:account|card|policy)[ -]?holder|cardholder|beneficiary|payee|remitter|applicant|co-?applicant|borrower"
    r"|guarantor"
    r"|signatory|c/o|on behalf of|in the name of|registered (?:to|in the name of)|issued to|belong(?:s|ing) to"
    r"|signed by|attn\.?|attention)"
)
_LABEL = (
    r"(?i:(?:(?:full|first|last|legal|given|family|maiden|customer|client|account|holder|cardholder|beneficiary"
    r"|applicant|contact"
    r"|employee|payee|recipient|sender|my|his|her|their)(?:'s)?[ _-]?)?name|surname)"
)
_INTRODUCTION = (
    r"(?i:my (?:full |legal )?name is|my name's|i am called|call me|speaking (?:with|to)|spoke (?:with|to)|talked "
    r"(?:with|to))"
)
_CLAIM = (
    r"(?i:(?:calling|identified|introduced) (?:him|her|them)sel(?:f|ves)(?: as)?|claim(?:s|ed|ing)? to be|said (?:he"
    r"|she) (?:was|is)|told by"
    r"|impersonat(?:ed|es|ing)|posing as|cust\.|clnt\.|c/h)"
)
_KIN = (
    r"(?i:(?:my|his|her|our|their)[ ](?:late |ex-?|elderly |older |younger |eldest |youngest )?"
    r"(?:wife|husband|spouse|son|daughter|mother|father|mom|dad|mum|brother|sister|partner|fianc[ée]+|uncle|aunt"
    r"|nephew|niece|cousin"
    r"|grand(?:mother|father|son|daughter)))"
)
_OWNED = (
    r"(?i:account|card|loan|mortgage|statement|passport|ssn|phone|mobile|e-?mail|date of birth|dob|signature|pension"
    r"|salary)\b"
)
_FACT = (
    r"(?i:ssn|social security|dob|d\.o\.b|date of birth|born|acct|account (?:no|number|#)|a/c|iban|nhs|card (?:no"
    r"|number|ending)|aged?[ ]\d"
    r"|(?:tel|phone|cell|mobile|e-?mail)\b(?:[ ](?:no\.?|number|is))?[ :.#]{0,3}(?:[\d+(]|[^\s@]{1,64}@))"
)
_IS = r"(?:[ ]?[:=#][ \"'(]{0,3}|[ ](?:is|was)[ ]|\t)"

# Name, what stands before, the name, what stands after, score.
_FORMS: tuple[tuple[str, str, str, str, float], ...] = (
    ("title", rf"(?<![\w'-]){_TITLE}(?:\.[ ]?|[ ])", NAME, "", STRONG),
    # "Profits Miss Estimates" is a headline: no capital may stand before.
    ("Miss", rf"(?:^|[.!?:;,\n][ ]?|\b[{LOWER}]+[ ])Miss[ ]", NAME, "", STRONG),
    ("greeting", rf"(?<!\w){_GREETING}[ ]", NAME, r"(?=[ ]?(?:[,!.:;\n]|$|-[ ]|and[ ]))", STRONG),
    ("farewell", rf"(?<!\w){_FAREWELL}[ ]?[,.:!-]{{0,2}}[ ]?(?:\n[ \n]{{0,4}}|[ ])(?:-[ ]?)?", NAME,
     r"(?=[ ]?(?:[,.;(|/\n-]|$|(?:and|&)[ ]))", STRONG),
    ("introduction", rf"(?<!\w){_INTRODUCTION}[ ]", NAME, "", STRONG),
    ("I am", r"(?<!\w)(?i:i am|i'm|this is)[ ]", FULL_NAME,
     r"(?=[ ]?(?:[,.;!\n(]|$|(?:here|calling|writing|from|and|with|speaking|again)\b))", LIKELY),
    ("label", rf"(?<!\w){_LABEL}[\"']?{_IS}", NAME, "", STRONG),
    ("role", rf"(?<!\w){_ROLE}[\"']?(?:{_IS}|,[ ]|[ ](?:named|called)[ ])", FULL_NAME, "", LIKELY),
    ("role on a form", rf"(?<!\w){_FORM_ROLE}[\"']?(?:[ ]?[:=#][ \"'(]{{0,3}}|[ ](?:named|called)[ ]|\t)", FULL_NAME,
     "", LIKELY),
    ("before a name", rf"(?<!\w){_BEFORE_A_NAME}[ ]", FULL_NAME, "", LIKELY),
    ("name on a form", r"(?:^|[,;:.(!\n][ ]?)(?i:(?:full )?name)[ ]", FULL_NAME, "", LIKELY),
    ("claim", rf"(?<!\w){_CLAIM}[ ]", FULL_NAME, "", LIKELY),
    ("kin", rf"(?<!\w){_KIN},?[ ](?:is[ ]|named[ ])?", NAME, "", STRONG),
    ("header", r"(?m:^)(?i:from|to|cc|bcc|von|an|de)[ ]?:[ ]?", FULL_NAME, r"(?=[ ]?(?:[<,;(\n]|$))", LIKELY),
)  # fmt: skip
_FORMS_WITHOUT_BEFORE: tuple[tuple[str, str, float], ...] = (
    ("mail header", r"[ ]?[<(\[][ ]?(?:mailto:)?[^\s<>@]{1,64}@", STRONG),
    ("owner", rf"'s?[ ]{_OWNED}", LIKELY),
    ("speaker", r"[ ](?:here|speaking|calling)[ ]?[,.!:;]", LIKELY),
    ("facts", rf"[ ]?[,(;:-][ ]?{_FACT}", LIKELY),
    ("Korean honorific", r"[ ]?(?:(?:고객|회원|[가-힣]{2})?님|씨(?![가-힣]{2})|귀하)", STRONG),
)
_SMALL_LETTERS = (
    r"(?<!\w)(?i:my (?:full |legal )?name is)[ ](?P<value>(?!(?:not|on|in|spel|misspel|wrong|the|a|now|still|listed"
    r"|also)\w*\b)[a-z]{2,}"
    r"(?:[ ](?!(?:and|from|i|my|with|but|at|of|on|is|in|the|here|calling|writing)\b)[a-z]{2,})?)(?!\w)"
)

# What looks like a name in these places and is none: offices, the calendar, accounts of a ledger, greetings to nobody.
_COMMON = frozenset(
    """a account accounts accumulated add after all also although america american amount analyst analysts and
    april as ask assets at august bad because before block bond bonds both branch britain broker brokerage
    business but buy by call can cancel card cards care cash central chair chairman chairwoman change chief
    china claims client clients close colleague colleagues committee community companies compliance consumer
    contact corporate cost could council counsel cr credit creditor customer customers date debit december
    deferred department depreciation desk despite did director directors dividend dividends division does dr due
    during each earnings either email equipment equity estate estimates europe european every everybody everyone
    exchange executive expectations expense february fed federal finance financial folks for forecast forecasts
    freeze friday friend friends from gain general goodwill government growth has have hello help helpdesk her
    here hi hiring his how hr i iban id if in income index interest international inventory investment
    investments investor investors ira is it january japan july june just kindly korea ladies land last like
    loan loans london loss maam madam management manager many march market markets may member members ministry
    monday mortgage most move mr mrs ms my name national neighbor neighbour neither new no none not note
    november now office officer official on open operations or our owner ownership partner pay payable payment
    payments personnel phone please policy portfolio prepaid president price profit profits public purchaser re
    receivable recruiter regards regulator relations remove rent report reserve retained retirement revenue
    revenues risk salary sales saturday savings sec secretary security sell send sept september service services
    settlement share shareholder shareholders since sir sirs so some staff stakeholder stakeholders state states
    stock stocks street subject sunday supervisor supplies support system systems targets tax team teams tell
    thank thanks that the their then there these this those though thursday to today tomorrow trader traders
    trading transfer treasury trustee trustees tuesday uk unblock unearned union united unless until update us
    usa user valued vice views wages was we wednesday what when where while who why wire with would yes
    yesterday you your yours""".split()
)
# A name with one of these in or behind it is a company's.
_FIRM = frozenset(
    """ag fargo paribas santander suisse natwest citibank fedwire
    bank bancorp banking brokers bv capital co company corp corporation foundation fund funds gmbh group
    holding holdings inc industries insurance ipo laboratories labs llc llp limited ltd nv partners plc sa sachs
    securities stanley technologies trust university ventures""".split()
)  # fmt: skip


class EnglishNameRecognizer(CuedRecognizer):
    """Names in Latin letters, by cue."""

    ENTITY = PERSON
    GUARDED = False
    FLAGS = 0  # capitals count; the cues that do not care say so themselves
    PATTERNS = (
        *((name, before + body + after, score) for name, before, body, after, score in _FORMS),
        *((name, FULL_NAME + after, score) for name, after, score in _FORMS_WITHOUT_BEFORE),
        ("single name with Korean honorific", rf"(?<![{UPPER}{LOWER}\d]){NAME}{_FORMS_WITHOUT_BEFORE[-1][1]}", STRONG),
        ("small letters", _SMALL_LETTERS, LIKELY),
    )
    # What stands before and then a capital, or what stands behind: of the same expressions, so that none is missing.
    GATE = "|".join(
        [
            *(f"(?:{before})(?:{_PARTICLE}[ ])?[{UPPER}]" for _, before, _, _, _ in _FORMS),
            *(f"[{UPPER}{LOWER}.]{after}" for _, after, _ in _FORMS_WITHOUT_BEFORE),
            r"(?i:name is)[ ][a-z]",
        ]
    )

    def matches(self, text: str) -> Iterator[tuple[Pattern, int, int]]:
        """The matches without words that belong to no name."""
        for pattern, start, end in super().matches(text):
            if span := trim(text, start, end, full=pattern.name not in _ONE_WORD):
                yield pattern, *span


_ONE_WORD = frozenset(
    {
        "title",
        "Miss",
        "greeting",
        "farewell",
        "introduction",
        "label",
        "kin",
        "single name with Korean honorific",
        "small letters",
    }
)


def trim(text: str, start: int, end: int, full: bool) -> tuple[int, int] | None:
    """The part of a match that is a name: from the first word that is not common to the next that is, or nothing."""
    words = []
    at = start
    for word in text[start:end].split(" "):
        plain = word.strip(".,'\"").casefold()
        if plain in _FIRM:
            return None
        if plain not in _COMMON or (len(plain) == 1 and word.endswith(".")):
            words.append((at, at + len(word)))
        elif words:
            break
        at += len(word) + 1
    behind = text[end : end + 24].lstrip(" ,").split(" ")[0].strip(".,'\"")
    firm_behind = behind[:1].isupper() and behind.casefold() in _FIRM and words and words[-1][1] == end
    if len(words) < 1 + full or firm_behind:
        return None
    return words[0][0], words[-1][1]
