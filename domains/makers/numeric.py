"""Write domains/finance/numeric.jsonl: questions with numbers in them, answers computed here.

    python -m domains.makers.numeric

Every formula has a sampler for its inputs, a function for its answer, and hand-written wordings in
seeds/numeric_shapes.yaml. An answer is computed from the inputs as they are printed, and rounded once, at the end.
"""

import json
import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist

import yaml

from domains.makers.extraction import PACK, SEEDS, number

ITEMS_PER_SCENARIO = 3
CURRENCIES = ("dollars", "euros", "pounds", "won", "yen", "francs")
NORMAL = NormalDist()


@dataclass(frozen=True)
class Formula:
    """One kind of question: its topic, how inputs are drawn, the answer, its unit and decimals."""

    topic: str
    draw: Callable[[random.Random], dict]
    answer: Callable[[dict], float]
    unit: str
    digits: int = 2


def present_value(flows: list[float], rate: float) -> float:
    """Value now of flows at the end of years 1, 2, ..."""
    return sum(flow / (1 + rate) ** year for year, flow in enumerate(flows, start=1))


def root(function: Callable[[float], float], low: float, high: float) -> float:
    """Zero of a decreasing function, by bisection."""
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if function(middle) > 0 else (low, middle)
    return (low + high) / 2


def bond_flows(coupon: float, years: int) -> list[float]:
    """Yearly payments of a bond with a face value of 100."""
    return [coupon] * (years - 1) + [coupon + 100]


def bond_price(i: dict) -> float:
    """Price per 100 at a yield compounded yearly."""
    return present_value(bond_flows(i["coupon"], i["years"]), i["yield"] / 100)


def macaulay(i: dict) -> float:
    """Present-value-weighted time to payment, in years."""
    weighted = [year * flow for year, flow in enumerate(bond_flows(i["coupon"], i["years"]), start=1)]
    return present_value(weighted, i["yield"] / 100) / bond_price(i)


def three_flows(i: dict) -> list[float]:
    """The flows of a three-year project."""
    return [i["flow1"], i["flow2"], i["flow3"]]


def black_scholes(i: dict, sign: int) -> float:
    """European option without dividends: sign 1 for a call, -1 for a put."""
    vol, rate = i["vol"] / 100, i["rate"] / 100
    spread = vol * math.sqrt(i["years"])
    d1 = (math.log(i["spot"] / i["strike"]) + (rate + vol**2 / 2) * i["years"]) / spread
    discounted = i["strike"] * math.exp(-rate * i["years"])
    return sign * (i["spot"] * NORMAL.cdf(sign * d1) - discounted * NORMAL.cdf(sign * (d1 - spread)))


def steps(rng: random.Random, low: float, high: float, step: float) -> float:
    """A multiple of `step` between low and high; an int where the step is one."""
    value = round(rng.randint(round(low / step), round(high / step)) * step, 6)
    return int(value) if float(value).is_integer() and step >= 1 else value


def project(r: random.Random) -> dict:
    """A cost and three flows that pay it back."""
    cost = steps(r, 1_000, 20_000, 100)
    flows = [steps(r, cost * 0.35, cost * 0.62, 10) for _ in range(3)]
    return {"cost": cost, **{f"flow{n}": flow for n, flow in enumerate(flows, start=1)}, "rate": steps(r, 3, 14, 0.5)}


def bond(r: random.Random) -> dict:
    """Coupon, years and yield of a bond."""
    return {"coupon": steps(r, 1, 8, 0.5), "years": r.randint(2, 12), "yield": steps(r, 1, 9, 0.25)}


def option(r: random.Random) -> dict:
    """Inputs of Black-Scholes."""
    spot = steps(r, 40, 200, 1)
    strike = steps(r, spot * 0.85, spot * 1.15, 1)
    return {
        "spot": spot,
        "strike": strike,
        "years": steps(r, 0.25, 2, 0.25),
        "rate": steps(r, 0.5, 5, 0.5),
        "vol": steps(r, 12, 45, 1),
    }


def parity_inputs(r: random.Random) -> dict:
    """A put at a price rounded to cents, as quoted."""
    inputs = option(r)
    put = round(black_scholes(inputs, -1), 2)
    return {key: inputs[key] for key in ("spot", "strike", "years", "rate")} | {"put": put}


def quoted_bond(r: random.Random) -> dict:
    """A bond with a market price instead of a yield."""
    inputs = bond(r)
    return {"coupon": inputs["coupon"], "years": inputs["years"], "price": round(bond_price(inputs), 2)}


def growth(r: random.Random) -> dict:
    """A start, a later end, the years between."""
    start = steps(r, 40, 800, 5)
    return {"start": start, "end": steps(r, start * 1.1, start * 3, 5), "years": r.randint(2, 10)}


def moved(r: random.Random) -> dict:
    """A value before and after a change in either direction."""
    before = steps(r, 20, 900, 5)
    after = before
    while after == before:
        after = steps(r, before * 0.6, before * 1.6, 1)
    return {"before": before, "after": after}


def rates_moved(r: random.Random) -> dict:
    """A rate before and after a change in either direction."""
    before = steps(r, 1, 8, 0.05)
    after = before
    while after == before:
        after = steps(r, max(0.1, before - 1.5), before + 1.5, 0.05)
    return {"before": before, "after": after}


FORMULAS: dict[str, Formula] = {
    "npv": Formula(
        "corporate finance", project, lambda i: present_value(three_flows(i), i["rate"] / 100) - i["cost"], "{ccy}"
    ),
    "irr": Formula(
        "corporate finance",
        lambda r: {key: value for key, value in project(r).items() if key != "rate"},
        lambda i: 100 * root(lambda rate: present_value(three_flows(i), rate) - i["cost"], -0.5, 2.0),
        "percent",
    ),
    "bond_price": Formula("bonds", bond, bond_price, "per 100"),
    "zero_price": Formula(
        "bonds",
        lambda r: {"years": r.randint(1, 20), "yield": steps(r, 0.5, 9, 0.25)},
        lambda i: present_value([0] * (i["years"] - 1) + [100], i["yield"] / 100),
        "per 100",
    ),
    "ytm": Formula(
        "bonds",
        quoted_bond,
        lambda i: 100 * root(lambda y: present_value(bond_flows(i["coupon"], i["years"]), y) - i["price"], -0.5, 1.0),
        "percent",
    ),
    "macaulay": Formula("bonds", bond, macaulay, "years"),
    "modified": Formula("bonds", bond, lambda i: macaulay(i) / (1 + i["yield"] / 100), ""),
    "price_move": Formula(
        "risk",
        lambda r: {
            "value": steps(r, 100_000, 9_000_000, 50_000),
            "duration": steps(r, 1, 14, 0.1),
            "bp": steps(r, 5, 120, 5),
        },
        lambda i: i["value"] * i["duration"] * i["bp"] / 10_000,
        "{ccy}",
    ),
    "var_parametric": Formula(
        "risk",
        lambda r: {
            "value": steps(r, 100_000, 9_000_000, 50_000),
            "vol": steps(r, 0.4, 3, 0.1),
            "level": r.choice([90, 95, 97.5, 99]),
        },
        lambda i: i["value"] * i["vol"] / 100 * NORMAL.inv_cdf(i["level"] / 100),
        "{ccy}",
        0,
    ),
    "var_scaled": Formula(
        "risk",
        lambda r: {"var": steps(r, 10_000, 900_000, 5_000), "days": r.choice([4, 5, 9, 10, 16, 20, 25])},
        lambda i: i["var"] * math.sqrt(i["days"]),
        "{ccy}",
        0,
    ),
    "var_historical": Formula(
        "risk",
        lambda r: {"returns": [*r.sample([n for n in range(-95, 120) if n], 9), -r.randint(3, 99)]},
        lambda i: -min(i["returns"]),
        "thousand {ccy}",
        0,
    ),
    "bs_call": Formula("derivatives", option, lambda i: black_scholes(i, 1), ""),
    "bs_put": Formula("derivatives", option, lambda i: black_scholes(i, -1), ""),
    "parity": Formula(
        "derivatives",
        parity_inputs,
        lambda i: i["put"] + i["spot"] - i["strike"] * math.exp(-i["rate"] / 100 * i["years"]),
        "",
    ),
    "fx_forward": Formula(
        "fx",
        lambda r: {"spot": steps(r, 1_050, 1_490, 5), "home": steps(r, 1, 5, 0.25), "foreign": steps(r, 0.5, 6, 0.25)},
        lambda i: i["spot"] * (100 + i["home"]) / (100 + i["foreign"]),
        "won",
    ),
    "index_move": Formula(
        "equities",
        lambda r: {"level": steps(r, 1_900, 3_300, 10), "pct": steps(r, 0.1, 6, 0.1)},
        lambda i: i["level"] * (1 + i["pct"] / 100),
        "points",
    ),
    "index_fall": Formula(
        "equities",
        lambda r: {"level": steps(r, 700, 3_300, 10), "pct": steps(r, 0.1, 6, 0.1)},
        lambda i: i["level"] * (1 - i["pct"] / 100),
        "points",
    ),
    "fx_convert": Formula(
        "fx",
        lambda r: {"amount": steps(r, 50, 90_000, 50), "rate": steps(r, 1_050, 1_490, 10)},
        lambda i: i["amount"] * i["rate"],
        "won",
        0,
    ),
    "fx_back": Formula(
        "fx",
        lambda r: {"amount": steps(r, 100_000, 90_000_000, 10_000), "rate": steps(r, 1_050, 1_490, 10)},
        lambda i: i["amount"] / i["rate"],
        "dollars",
    ),
    "cagr": Formula(
        "corporate finance", growth, lambda i: 100 * ((i["end"] / i["start"]) ** (1 / i["years"]) - 1), "percent"
    ),
    "pe": Formula(
        "equities",
        lambda r: {"price": steps(r, 10, 400, 0.5), "eps": steps(r, 0.5, 20, 0.1)},
        lambda i: i["price"] / i["eps"],
        "times",
    ),
    "eps": Formula(
        "accounting",
        lambda r: {"profit": steps(r, 5, 900, 1), "shares": steps(r, 2, 300, 1)},
        lambda i: i["profit"] / i["shares"],
        "{ccy} a share",
    ),
    "roe": Formula(
        "accounting",
        lambda r: {"profit": steps(r, 5, 200, 1), "equity": steps(r, 250, 3_000, 10)},
        lambda i: 100 * i["profit"] / i["equity"],
        "percent",
    ),
    "current_ratio": Formula(
        "accounting",
        lambda r: {"assets": steps(r, 50, 900, 1), "liabilities": steps(r, 30, 600, 1)},
        lambda i: i["assets"] / i["liabilities"],
        "times",
    ),
    "wacc": Formula(
        "corporate finance",
        lambda r: {
            "equity": steps(r, 100, 900, 10),
            "debt": steps(r, 50, 800, 10),
            "ke": steps(r, 6, 14, 0.5),
            "kd": steps(r, 2, 8, 0.5),
            "tax": r.choice([19, 20, 22, 24, 25, 30]),
        },
        lambda i: (i["equity"] * i["ke"] + i["debt"] * i["kd"] * (1 - i["tax"] / 100)) / (i["equity"] + i["debt"]),
        "percent",
    ),
    "capm": Formula(
        "risk",
        lambda r: {"rf": steps(r, 0.5, 5, 0.25), "rm": steps(r, 6, 12, 0.5), "beta": steps(r, 0.3, 2, 0.05)},
        lambda i: i["rf"] + i["beta"] * (i["rm"] - i["rf"]),
        "percent",
    ),
    "beta": Formula(
        "risk", lambda r: {"cov": steps(r, 2, 40, 0.5), "var": steps(r, 8, 30, 0.5)}, lambda i: i["cov"] / i["var"], ""
    ),
    "sharpe": Formula(
        "risk",
        lambda r: {"ret": steps(r, 3, 20, 0.5), "rf": steps(r, 0.5, 5, 0.25), "vol": steps(r, 4, 30, 0.5)},
        lambda i: (i["ret"] - i["rf"]) / i["vol"],
        "",
    ),
    "accrued": Formula(
        "bonds",
        lambda r: {"face": steps(r, 1_000, 500_000, 1_000), "coupon": steps(r, 1, 8, 0.25), "days": r.randint(5, 355)},
        lambda i: i["face"] * i["coupon"] / 100 * i["days"] / 360,
        "{ccy}",
    ),
    "pct_change": Formula("accounting", moved, lambda i: 100 * (i["after"] / i["before"] - 1), "percent"),
    "bp_change": Formula("bonds", rates_moved, lambda i: 100 * (i["after"] - i["before"]), "basis points", 0),
    "compound": Formula(
        "banking",
        lambda r: {"amount": steps(r, 500, 90_000, 100), "rate": steps(r, 0.5, 9, 0.25), "years": r.randint(2, 15)},
        lambda i: i["amount"] * (1 + i["rate"] / 100) ** i["years"],
        "{ccy}",
    ),
    "simple": Formula(
        "banking",
        lambda r: {"amount": steps(r, 500, 90_000, 100), "rate": steps(r, 0.5, 12, 0.5), "months": r.randint(1, 11)},
        lambda i: i["amount"] * i["rate"] / 100 * i["months"] / 12,
        "{ccy}",
    ),
    "depreciation": Formula(
        "accounting",
        lambda r: {
            "cost": steps(r, 5_000, 90_000, 500),
            "residual": steps(r, 500, 4_500, 100),
            "years": r.randint(3, 10),
        },
        lambda i: (i["cost"] - i["residual"]) / i["years"],
        "{ccy}",
    ),
    "book_value": Formula(
        "accounting",
        lambda r: {
            "cost": steps(r, 5_000, 90_000, 500),
            "rate": r.choice([10, 15, 20, 25, 30, 40]),
            "years": r.randint(2, 8),
        },
        lambda i: i["cost"] * (1 - i["rate"] / 100) ** i["years"],
        "{ccy}",
    ),
    "dividend_yield": Formula(
        "equities",
        lambda r: {"price": steps(r, 10, 300, 0.5), "dividend": steps(r, 0.1, 9, 0.05)},
        lambda i: 100 * i["dividend"] / i["price"],
        "percent",
    ),
    "gordon": Formula(
        "equities",
        lambda r: {"dividend": steps(r, 0.5, 9, 0.1), "growth": steps(r, 0, 3, 0.25), "rate": steps(r, 5, 12, 0.5)},
        lambda i: 100 * i["dividend"] / (i["rate"] - i["growth"]),
        "{ccy}",
    ),
    "annuity_payment": Formula(
        "banking",
        lambda r: {"amount": steps(r, 5_000, 400_000, 1_000), "rate": steps(r, 1, 9, 0.25), "years": r.randint(2, 30)},
        lambda i: i["amount"] * i["rate"] / 100 / (1 - (1 + i["rate"] / 100) ** -i["years"]),
        "{ccy}",
    ),
}


def printed(value: float | list) -> str:
    """A number as the question shows it: thousands separators, no superfluous zeros."""
    if isinstance(value, list):
        return ", ".join(f"{each:+d}" for each in value)
    return f"{value:,}" if isinstance(value, int) or not float(value).is_integer() else f"{value:,.0f}"


def make(seed: int = 20263) -> list[dict]:
    """All items; `group` is formula and scenario family."""
    shapes = yaml.safe_load((SEEDS / "numeric_shapes.yaml").read_text(encoding="utf-8"))
    rng = random.Random(seed)
    items = []
    for name, scenarios in shapes.items():
        formula = FORMULAS[name]
        for scenario, wordings in scenarios.items():
            seen: set[str] = set()
            while len(seen) < ITEMS_PER_SCENARIO * len(wordings):
                inputs, currency = formula.draw(rng), rng.choice(CURRENCIES)
                wording = wordings[len(seen) % len(wordings)]
                question = wording.format(**{key: printed(value) for key, value in inputs.items()}, ccy=currency)
                if question in seen:
                    continue
                seen.add(question)
                answer = round(formula.answer(inputs), formula.digits)
                unit = formula.unit.format(ccy=currency)
                items.append({
                    "instruction": question,
                    "response": f"The answer is {f'{number(answer, formula.digits)} {unit}'.strip()}.",
                    "context": "",
                    "topic": formula.topic,
                    "group": f"{name}/{scenario}",
                    "formula": name,
                    "inputs": inputs,
                    "answer": answer,
                    "unit": unit,
                })  # fmt: skip
    return items


def write(path: Path = PACK / "numeric.jsonl") -> None:
    """Write the items as JSON lines."""
    lines = [json.dumps(item, ensure_ascii=False) for item in make()]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write()
