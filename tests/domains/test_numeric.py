"""Numeric questions: every stored answer is recomputed from the stored inputs by another route than the maker's."""

import json
import math
import re

import numpy as np
import pytest
from scipy import integrate, optimize, stats

from domains.makers import numeric

ITEMS = [json.loads(line) for line in (numeric.PACK / "numeric.jsonl").read_text(encoding="utf-8").splitlines()]


def grown_backwards(flows, rate):
    """Present value by Horner's scheme from the last year back, instead of a sum of discounted flows."""
    value = 0.0
    for flow in reversed(flows):
        value = (value + flow) / (1 + rate)
    return value


def rate_by_polynomial(price, flows):
    """The rate at which the flows are worth the price: a root of a polynomial in 1 / (1 + rate)."""
    roots = np.roots([*reversed(flows), -price])
    factors = [r.real for r in roots if abs(r.imag) < 1e-9 and r.real > 0]
    assert len(factors) == 1
    return 1 / factors[0] - 1


def bond(i):
    return [i["coupon"]] * (i["years"] - 1) + [i["coupon"] + 100]


def price_at(i, y):
    return grown_backwards(bond(i), y)


def modified_duration(i):
    """Minus the relative slope of the price in the yield, by a central difference."""
    y, h = i["yield"] / 100, 1e-5
    return -(price_at(i, y + h) - price_at(i, y - h)) / (2 * h) / price_at(i, y)


def expected_payoff(i, sign):
    """Option price as the integral of the discounted payoff over the risk-neutral density."""
    vol, rate, t = i["vol"] / 100, i["rate"] / 100, i["years"]
    mean, sd = math.log(i["spot"]) + (rate - vol**2 / 2) * t, vol * math.sqrt(t)
    kink = (math.log(i["strike"]) - mean) / sd
    edges = (kink, 12) if sign > 0 else (-12, kink)
    area, _ = integrate.quad(
        lambda z: sign * (math.exp(mean + sd * z) - i["strike"]) * math.exp(-z * z / 2) / math.sqrt(2 * math.pi), *edges
    )
    return math.exp(-rate * t) * area


def year_by_year(amount, rate, years):
    for _ in range(years):
        amount += amount * rate / 100
    return amount


def level_payment(i):
    """The payment that leaves no debt after the last year, found by search on the balance."""

    def left(payment):
        balance = i["amount"]
        for _ in range(i["years"]):
            balance = balance * (1 + i["rate"] / 100) - payment
        return balance

    return optimize.brentq(left, 0, 2 * i["amount"], xtol=1e-9)


def flows(i):
    return [i["flow1"], i["flow2"], i["flow3"]]


ROUTES = {
    "npv": lambda i: grown_backwards(flows(i), i["rate"] / 100) - i["cost"],
    "irr": lambda i: 100 * rate_by_polynomial(i["cost"], flows(i)),
    "bond_price": lambda i: price_at(i, i["yield"] / 100),
    "zero_price": lambda i: 100 / math.exp(i["years"] * math.log1p(i["yield"] / 100)),
    "ytm": lambda i: 100 * rate_by_polynomial(i["price"], bond(i)),
    "macaulay": lambda i: modified_duration(i) * (1 + i["yield"] / 100),
    "modified": modified_duration,
    "price_move": lambda i: i["value"] * (i["duration"] / 100) * (i["bp"] / 100),
    "var_parametric": lambda i: -stats.norm.ppf(1 - i["level"] / 100, scale=i["value"] * i["vol"] / 100),
    "var_scaled": lambda i: (i["var"] ** 2 * i["days"]) ** 0.5,
    "var_historical": lambda i: sorted(-r for r in i["returns"])[-1],
    "bs_call": lambda i: expected_payoff(i, 1),
    "bs_put": lambda i: expected_payoff(i, -1),
    "parity": lambda i: i["put"] + i["spot"] - i["strike"] / math.exp(i["rate"] * i["years"] / 100),
    "fx_forward": lambda i: i["spot"] / (1 + i["foreign"] / 100) * (1 + i["home"] / 100),
    "index_move": lambda i: i["level"] + i["level"] * i["pct"] / 100,
    "index_fall": lambda i: i["level"] - i["level"] * i["pct"] / 100,
    "fx_convert": lambda i: sum([i["rate"]] * i["amount"]),
    "fx_back": lambda i: optimize.brentq(lambda dollars: dollars * i["rate"] - i["amount"], 0, 1e9, xtol=1e-9),
    "cagr": lambda i: 100 * math.expm1((math.log(i["end"]) - math.log(i["start"])) / i["years"]),
    "pe": lambda i: optimize.brentq(lambda times: times * i["eps"] - i["price"], 0, 1e5, xtol=1e-9),
    "eps": lambda i: (i["profit"] * 1e6) / (i["shares"] * 1e6),
    "roe": lambda i: i["profit"] / (i["equity"] / 100),
    "current_ratio": lambda i: 1 / (i["liabilities"] / i["assets"]),
    "wacc": lambda i: np.average(
        [i["ke"], i["kd"] - i["kd"] * i["tax"] / 100], weights=[i["equity"], i["debt"]]
    ),
    "capm": lambda i: (1 - i["beta"]) * i["rf"] + i["beta"] * i["rm"],
    "beta": lambda i: optimize.minimize_scalar(lambda b: b * b * i["var"] - 2 * b * i["cov"]).x,
    "sharpe": lambda i: i["ret"] / i["vol"] - i["rf"] / i["vol"],
    "accrued": lambda i: sum([i["face"] * i["coupon"] / 36_000] * i["days"]),
    "pct_change": lambda i: (i["after"] - i["before"]) * 100 / i["before"],
    "bp_change": lambda i: i["after"] * 100 - i["before"] * 100,
    "compound": lambda i: year_by_year(i["amount"], i["rate"], i["years"]),
    "simple": lambda i: sum([i["amount"] * i["rate"] / 1_200] * i["months"]),
    "depreciation": lambda i: -np.polyfit([0, i["years"]], [i["cost"], i["residual"]], 1)[0],
    "book_value": lambda i: year_by_year(i["cost"], -i["rate"], i["years"]),
    "dividend_yield": lambda i: 100 / (i["price"] / i["dividend"]),
    "gordon": lambda i: sum(  # the growing dividends themselves, until they no longer count
        i["dividend"] * (1 + i["growth"] / 100) ** (year - 1) / (1 + i["rate"] / 100) ** year
        for year in range(1, 4_000)
    ),
    "annuity_payment": level_payment,
}  # fmt: skip


def test_the_routes_cover_every_formula_and_every_formula_has_three_wordings():
    groups = {item["group"] for item in ITEMS}
    assert set(ROUTES) == set(numeric.FORMULAS) == {item["formula"] for item in ITEMS}
    for formula in ROUTES:
        assert sum(group.startswith(formula + "/") for group in groups) >= 3
    assert len(ITEMS) >= 260


@pytest.mark.parametrize("formula", sorted(ROUTES))
def test_answers_hold_by_an_independent_route(formula):
    digits = numeric.FORMULAS[formula].digits
    items = [item for item in ITEMS if item["formula"] == formula]
    for item in items:
        # half a unit of the last printed place, and a hair for ties that fall the other way in floating point
        other = ROUTES[formula](item["inputs"])
        assert item["answer"] == pytest.approx(other, abs=0.5 * 10**-digits + 1e-4 * 10**-digits), item["instruction"]


def test_the_response_prints_the_answer_and_the_question_prints_every_input():
    for item in ITEMS:
        printed = re.fullmatch(r"The answer is (-?[\d,]+(?:\.\d+)?)(?: (.+))?\.", item["response"])
        assert printed, item["response"]
        assert float(printed[1].replace(",", "")) == pytest.approx(item["answer"])
        assert (printed[2] or "") == item["unit"]
        shown = {
            float(text.replace(",", ""))
            for text in re.findall(r"[-+]?\d[\d,]*(?:\.\d+)?", item["instruction"].replace(", ", " ; "))
        }
        for value in item["inputs"].values():
            for each in value if isinstance(value, list) else [value]:
                assert float(each) in shown, item["instruction"]


def test_no_question_occurs_twice():
    assert len({item["instruction"] for item in ITEMS}) == len(ITEMS)


def test_the_maker_writes_the_file_byte_for_byte(tmp_path):
    numeric.write(tmp_path / "numeric.jsonl")
    assert (tmp_path / "numeric.jsonl").read_bytes() == (numeric.PACK / "numeric.jsonl").read_bytes()
