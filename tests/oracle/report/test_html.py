"""The HTML report as a person uses it: opened in a browser, filtered, sorted, a case opened, a quantity picked."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import oracle
from oracle.judging.training import TrainingRun
from oracle.report.about import About
from oracle.report.html import payload
from oracle.report.roles import roles
from oracle.wording.figures import measured, rounded

from .. import planted

LARGE = 50_000
LARGEST_FILE = 8_000_000


@pytest.fixture(scope="module")
def report() -> oracle.Report:
    gaps = tuple(0.0 if step < 3 else 1e-7 * step for step in range(40))
    losses = tuple((2.0 / (step + 1) + (0.5 if step > 20 else 0.0), 2.0 / (step + 1)) for step in range(40))
    run = TrainingRun("digits/lenet", "float32", 2, "refbp", "torch", gaps, losses, 0.5, 0.9)
    return replace(planted.bug(), training=[run])


@pytest.fixture(scope="module")
def page(report: oracle.Report, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("html") / "report.html"
    report.to_html(path)
    return path


def enlarged(report: oracle.Report, rows: int) -> oracle.Report:
    """The same rows under other names, until there are so many, with figures that do not repeat."""
    times = -(-rows // len(report.table))
    table = pd.concat([report.table.assign(case=f"family{i % 20}/case{i}") for i in range(times)], ignore_index=True)
    table = table.iloc[:rows].copy()
    jitter = np.random.default_rng(0).uniform(0.5, 1.5, size=rows)
    for name in ("z_max", "max_abs", "max_rel", "got", "expected", "tolerance"):
        table[name] *= jitter
    return replace(report, table=table)


# The data that the page carries


def test_every_row_and_every_column_is_there(report: oracle.Report) -> None:
    columns = payload.columns(report.table, report.blame)
    assert set(report.table.columns) | {"role"} == set(columns)
    for name, column in columns.items():
        assert len(column.get("codes", column.get("numbers"))) == len(report.table), name
    words = columns["verdict"]
    assert [words["words"][code] for code in words["codes"]] == report.table["verdict"].tolist()


@pytest.mark.parametrize("value", [1e-300, 4.9e-324, -3.14159e-9, 0.99999999, 1e300, 12345.678, np.inf, 0.0])
def test_no_digit_is_lost_that_means_something(value: float) -> None:
    """Nothing becomes 0 that is not, and nothing becomes something that is 0."""
    assert (rounded(value) == 0) == (value == 0)
    assert rounded(value) == pytest.approx(value, rel=1e-3)
    assert (measured(value, 1e-9) == 0) == (value == 0)
    assert measured(value, 0.0) == value
    assert (payload.share(value) == 1) == (value == 1)


def test_got_and_expected_show_as_many_digits_as_the_tolerance_allows() -> None:
    assert measured(0.123456789012, 1e-6) == 0.1234568
    assert measured(123.456789012, 1e-6) == 123.4567890
    assert abs(measured(0.1234567891, 1e-6) - measured(0.1234547891, 1e-6)) > 1e-6


def test_culprit_and_consequence_are_told_apart(report: oracle.Report) -> None:
    table = report.table.assign(role=roles(report.table, report.blame))
    found = {role: set(zip(own["layer"], own["quantity"], strict=True)) for role, own in table.groupby("role")}
    assert found["culprit"] == {("conv2", "grad_input"), ("conv1", "grad_input")}
    assert ("act1", "grad_input") in found["consequence"] and ("fc1", "output") in found[""]


def test_the_file_stays_small_and_needs_nothing_else(report: oracle.Report, tmp_path: Path) -> None:
    """80,000 rows in less than 8 MB, and no address is ever loaded."""
    enlarged(report, 80_000).to_html(tmp_path / "large.html")
    assert (tmp_path / "large.html").stat().st_size < LARGEST_FILE
    text = (tmp_path / "large.html").read_text()
    assert "default-src 'none'" in text and "src=" not in text.partition("<script")[0] and "<link" not in text
    assert "Permission is hereby granted" in text and "Michael Leibman" in text and "Leon Sorokin" in text


class Hostile:
    name = "<img src=x onerror=alert(1)>"

    def run(self, case: oracle.Case) -> oracle.Trace:
        raise RuntimeError("</script><script>document.title = 'hacked'</script>")


def test_nothing_that_a_subject_says_is_run(tmp_path: Path) -> None:
    report = oracle.run(Hostile(), cases="worked-example", dtypes=("float64",))
    report.to_html(tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    assert "<script>document.title" not in text and "<img" not in text


def test_an_empty_report_can_be_shown(tmp_path: Path) -> None:
    report = oracle.Report.of([], About(subject="a", reference="b", dtypes=(), cases=0), {})
    report.to_html(tmp_path / "report.html")
    assert "nothing was judged" in (tmp_path / "report.html").read_text()


# The page in a browser


@pytest.fixture
def opened(browser: Any, page: Path) -> Iterator[Any]:
    """The page, ready; nothing may have been said on the console when the test ends."""
    show(browser, page)
    yield browser
    assert browser.get_log("browser") == []


def show(browser: Any, page: Path, place: str = "") -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    browser.get("about:blank")
    browser.get(f"{page.as_uri()}{place}")
    WebDriverWait(browser, 60).until(lambda b: b.execute_script("return document.documentElement.dataset.ready"))


def all_of(browser: Any, selector: str) -> list[Any]:
    return list(browser.find_elements("css selector", selector))


def one(browser: Any, selector: str) -> Any:
    return browser.find_element("css selector", selector)


def column(browser: Any, place: int) -> list[str]:
    """What the table shows in a column, from the top."""
    rows = sorted(all_of(browser, "#grid .slick-row"), key=lambda row: row.location["y"])
    return [one(row, f".slick-cell.l{place}").text for row in rows]


def test_a_filter_narrows_the_table(opened: Any) -> None:
    field = one(opened, "#filter")
    field.send_keys("layer=conv2 grad_input verdict=wrong")
    assert one(opened, "#shown").text == "10 of 560 rows"
    assert set(column(opened, 3)) == {"conv2"} and set(column(opened, 7)) == {"wrong"}
    field.clear()
    field.send_keys("z_max>1000000 mode:local")
    assert one(opened, "#shown").text.startswith("10 of")
    one(opened, "#clear").click()
    assert one(opened, "#shown").text == "560 of 560 rows"
    field.send_keys("no such thing")
    assert one(opened, "#shown").text == "0 of 560 rows"


@pytest.mark.parametrize(
    ("query", "answer"),
    [
        ("zmax>3", '"zmax" is not a column: near it are z_max, z_rms.'),
        ("layer>conv2", "layer holds words: compare it with =, !=, : (contains) or :^ (starts with), not with >."),
        ("z_max:^3", "z_max holds numbers: compare it with =, !=, >, >=, < or <=, not with :^."),
        ("z_max>three", 'z_max is compared with a number, and "three" is none.'),
        ('"conv2 grad', "A quote is not closed"),
    ],
)
def test_a_filter_that_cannot_be_understood_is_answered(opened: Any, query: str, answer: str) -> None:
    """An empty table would be taken for the answer; the rows stay as they were."""
    one(opened, "#filter").send_keys(query)
    assert one(opened, "#filter-trouble").text.startswith(answer)
    assert one(opened, "#shown").text.endswith("of 560 rows") and not one(opened, "#shown").text.startswith("0 ")
    one(opened, "#clear").click()
    assert one(opened, "#filter-trouble").text == ""


def test_a_filter_can_negate_and_quote(opened: Any, report: oracle.Report) -> None:
    table, field = report.table, one(opened, "#filter")
    for query, fits in (
        ("verdict!=pass", table["verdict"] != "pass"),
        ("-verdict=pass", table["verdict"] != "pass"),
        ('mode="end to end" -layer=conv2', (table["mode"] == "end to end") & (table["layer"] != "conv2")),
        ('"end to end"', table["mode"] == "end to end"),
        ("z_max=nan", table["z_max"].isna()),
        ("step>=2 step!=3", (table["step"] >= 2) & (table["step"] != 3)),
    ):
        field.clear()
        field.send_keys(query)
        assert one(opened, "#shown").text == f"{fits.sum()} of 560 rows", query
    one(opened, "#clear").click()


def test_the_address_holds_filter_order_and_case(opened: Any, page: Path) -> None:
    """Who is sent the address sees the same rows in the same order."""
    from selenium.webdriver.common.keys import Keys

    one(opened, "#filter").send_keys("layer=conv2 mode=local")
    heading = one(opened, "#grid .slick-header-column[data-id='z_max']")
    heading.send_keys(Keys.ENTER)
    heading.send_keys(Keys.SPACE)
    assert heading.get_attribute("aria-sort") == "descending"
    opened.execute_script("arguments[0].click()", one(opened, "[data-layer=fc1][data-quantity='grad.weight']"))
    rows, address = column(opened, 9), opened.current_url
    assert "filter=layer%3Dconv2+mode%3Dlocal" in address and "sort=-z_max" in address
    show(opened, page, f"#{address.partition('#')[2]}&case=lenet5%2Frandom&dtype=float32&step=1")
    assert column(opened, 9) == rows and one(opened, "#filter").get_property("value") == "layer=conv2 mode=local"
    assert one(opened, "#case-step").get_property("value") == "1"
    assert one(opened, "#grid .slick-header-column[data-id='z_max']").get_attribute("aria-sort") == "descending"
    one(opened, "#clear").click()


def test_what_is_filtered_can_be_downloaded(opened: Any, report: oracle.Report) -> None:
    """The rows that are shown, with every column, in a form that pandas reads; no cell starts a formula."""
    opened.execute_script("URL.createObjectURL = (blob) => { window.given = blob.text(); return 'about:blank#'; }")
    one(opened, "#filter").send_keys("layer=conv2 verdict=wrong")
    opened.execute_script("document.getElementById('download').addEventListener('click', (e) => 0)")
    opened.execute_script("HTMLAnchorElement.prototype.click = () => {}; document.getElementById('download').click()")
    text = opened.execute_async_script("window.given.then(arguments[0])")
    got = pd.read_csv(io.StringIO(text))
    kept = report.table[(report.table["layer"] == "conv2") & (report.table["verdict"] == "wrong")]
    assert got["quantity"].tolist() == kept["quantity"].tolist() and got["step"].tolist() == kept["step"].tolist()
    assert not any(cell.startswith(("=", "+", "@")) for cell in got["layer"])
    one(opened, "#clear").click()


def test_a_line_to_run_again_can_be_copied(opened: Any) -> None:
    button = one(opened, "#blame button.copy")
    opened.execute_script(
        "navigator.clipboard.writeText = (text) => { window.copied = text; return Promise.resolve(); }"
    )
    button.click()
    assert opened.execute_script("return window.copied").startswith("oracle.run(")
    assert button.text == "copied"


@pytest.mark.parametrize(("width", "place"), [(1300, "table"), (700, "case"), (400, "table")])
def test_the_header_covers_nothing_that_a_link_jumps_to(opened: Any, width: int, place: str) -> None:
    opened.set_window_size(width, 900)
    opened.execute_script(f"document.querySelector('a[data-section][href=\"#{place}\"]').click()")
    top = opened.execute_script(f"return document.querySelector('#{place} h2').getBoundingClientRect().top")
    header = opened.execute_script("return document.querySelector('header.top').getBoundingClientRect().bottom")
    opened.set_window_size(1300, 1000)
    assert top >= header


def test_a_click_on_a_heading_sorts(opened: Any, report: oracle.Report) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    heading = one(opened, "#grid .slick-header-column[id$='z_max']")
    heading.click()
    assert column(opened, 9)[0] == "0"
    heading.click()
    WebDriverWait(opened, 5).until(lambda b: column(b, 9)[0] == "1.7e7")
    assert report.table["z_max"].max() == pytest.approx(1.7e7, rel=0.05)


def test_the_case_that_is_blamed_is_open_and_its_culprit_chosen(opened: Any) -> None:
    assert one(opened, "#case-name").get_property("value") == "lenet5/random"
    (chosen,) = all_of(opened, "#network [aria-pressed=true]")
    assert chosen.get_attribute("data-layer") == "conv2" and "role-culprit" in chosen.get_attribute("class")
    assert len(all_of(opened, "#network .layer.at-fault")) == 2
    followed = {button.get_attribute("data-layer") for button in all_of(opened, "#network .edge.role-consequence")}
    assert followed == {"act1", "pool1"}
    assert len(all_of(opened, "canvas.map")) == 2 and len(all_of(opened, "#figures svg")) == 2


def test_a_case_says_what_it_holds_and_how_to_run_it_again(opened: Any) -> None:
    """Its purpose and loss above the layers, the options in them; the command is of the dtype that is shown."""
    facts = one(opened, "#case-facts").text
    assert facts.startswith("tests ") and "loss CrossEntropyLoss()" in facts
    assert "oracle.run(subject, cases='lenet5/random', dtypes=('float32',))" in facts
    assert "kernel_size=3" in one(opened, "#network .layer .options").text


def test_a_quantity_is_picked_by_mouse_and_by_keyboard(opened: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    opened.execute_script("arguments[0].click()", one(opened, "[data-layer=fc1][data-quantity='grad.weight']"))
    assert one(opened, "#quantity h3").text == "fc1 grad.weight"
    assert "No arrays are kept" in one(opened, "#maps").text
    one(opened, "[data-layer=conv1][data-quantity='grad.weight']").send_keys(Keys.ENTER)
    assert one(opened, "#quantity h3").text == "conv1 grad.weight consequence"
    assert [title.text for title in all_of(opened, "#maps figcaption b")] == [
        "kernel",
        "output × input channel",
        "kernel × channels",
    ]


def test_a_row_opens_its_case_by_keyboard(opened: Any) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.ui import WebDriverWait

    one(opened, "#filter").send_keys("step=3 fc2 grad.bias mode:local")
    one(opened, "#grid .slick-cell.l3").click()
    ActionChains(opened).send_keys(Keys.ENTER).perform()
    WebDriverWait(opened, 5).until(lambda b: one(b, "#quantity h3").text == "fc2 grad.bias")
    assert one(opened, "#case-step").get_property("value") == "3" and "step=3" in opened.current_url


def test_a_link_opens_a_place(browser: Any, page: Path) -> None:
    show(browser, page, "#case=lenet5%2Frandom&dtype=float32&step=2&layer=pool1&quantity=grad_input")
    assert one(browser, "#quantity h3").text == "pool1 grad_input consequence"
    assert browser.get_log("browser") == []


def test_training_and_growth_are_drawn(opened: Any) -> None:
    assert len(all_of(opened, "#training .uplot")) == 2 and len(all_of(opened, "#growth .uplot")) == 1
    text = one(opened, "#training figcaption").text
    assert "Parameters first differ after step 4" in text and "losses differ by more than 1 % from step 22 on" in text


def test_digits_lost_are_shown_by_place(browser: Any, tmp_path: Path) -> None:
    """Under the drawing along depth, the worst first; a click opens the place."""
    import torch

    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Linear(6, 8), torch.nn.LayerNorm(8), torch.nn.Linear(8, 8), torch.nn.BatchNorm1d(8)
    )
    report = oracle.check_module(net, torch.randn(16, 6))
    report.to_html(tmp_path / "report.html")
    show(browser, tmp_path / "report.html", "")
    text = one(browser, "#digits").text
    assert text.startswith("Of the 6.4 digits of float32, rounding leaves") and "in 2 grad.bias (local)" in text
    one(browser, "#digits button").click()
    assert one(browser, "#quantity h3").text.startswith("2 grad.bias")
    assert "## Digits lost" in report.to_markdown() and "| 2 | grad.bias | local |" in report.to_markdown()


def test_the_theme_can_be_turned(opened: Any) -> None:
    before = opened.execute_script("return getComputedStyle(document.body).backgroundColor")
    one(opened, "#theme").click()
    assert opened.execute_script("return getComputedStyle(document.body).backgroundColor") != before
    one(opened, "#theme").click()


@pytest.mark.parametrize(
    "cases", ["worked-example", "optimizer/SGD,momentum+nesterov", "network/inception", "network/u"]
)
def test_every_shape_of_network_is_drawn(browser: Any, tmp_path: Path, cases: str) -> None:
    """A plain one, parameters alone, branches, skips: each judged quantity has its place, at least once."""
    report = oracle.run(cases=cases, dtypes=("float32",))
    report.to_html(tmp_path / "report.html")
    show(browser, tmp_path / "report.html")
    name = one(browser, "#case-name").get_property("value")
    drawn = {
        (button.get_attribute("data-layer"), button.get_attribute("data-quantity"))
        for button in all_of(browser, "#network button:not(:disabled)")
    }
    rows = report.table[(report.table["case"] == name) & (report.table["step"] == 0)]
    assert drawn == set(zip(rows["layer"], rows["quantity"], strict=True))
    assert browser.get_log("browser") == []


def test_a_module_opens_to_its_operations(browser: Any, tmp_path: Path) -> None:
    """Of a large network the modules are shut, but for those with something to see; each holds its own operations."""
    import torch

    class Block(torch.nn.Module):
        def __init__(self, factor: float) -> None:
            super().__init__()
            self.fc, self.factor = torch.nn.Linear(4, 4), factor

        def forward(self, x: Any) -> Any:
            return x + torch.tanh(Doubled.apply(self.fc(x)) * 2) * self.factor  # type: ignore[no-untyped-call]

    class Doubled(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x * 2

        @staticmethod
        def backward(ctx: Any, grad: Any) -> Any:
            return grad * 2

    net = torch.nn.Sequential(*(Block(0.1 * number) for number in range(1, 9)), torch.nn.Linear(4, 4))
    oracle.check_module(net, torch.randn(3, 4)).to_html(tmp_path / "report.html")
    show(browser, tmp_path / "report.html")
    modules = all_of(browser, "#network details.module")
    assert [own.find_element("css selector", "summary .name").text for own in modules] == [str(n) for n in range(8)]
    assert not any(own.get_property("open") for own in modules)
    modules[2].find_element("css selector", "summary").click()
    assert modules[2].find_element("css selector", "[data-layer='2.tanh']").is_displayed()
    assert browser.get_log("browser") == []


def test_modules_are_nested_by_their_paths(browser: Any, tmp_path: Path) -> None:
    """Each module with several parts holds them all where its first one ran, those of modules inside it too."""
    import torch

    class Mlp(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc1, self.act, self.fc2 = torch.nn.Linear(4, 8), Gelu(), torch.nn.Linear(8, 4)

        def forward(self, x: Any) -> Any:
            return self.fc2(self.act(self.fc1(x)))

    class Gelu(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return torch.nn.functional.gelu(x)

    class Norm(torch.nn.BatchNorm1d):  # has statistics of its own, and is judged by its operations
        def forward(self, x: Any) -> Any:
            return super().forward(x) * 1

    class Block(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.mlp, self.skip = Norm(4), Mlp(), torch.nn.Identity()

        def forward(self, x: Any) -> Any:
            return self.skip(x) + self.mlp(self.norm(x)) * 2

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks, self.between = torch.nn.ModuleList(Block() for _ in range(2)), torch.nn.Linear(4, 4)

        def forward(self, x: Any) -> Any:
            return self.blocks[1](self.between(self.blocks[0](x)))

    torch.manual_seed(0)
    report = oracle.check_module(Net(), torch.randn(8, 4))
    report.to_html(tmp_path / "report.html")
    show(browser, tmp_path / "report.html")
    block = ["{0}", "{0}.skip", "{0}.norm", "{0}.norm*", "{0}.norm.batch_norm", "{0}.norm.mul"]
    block += ["{0}.mlp", "{0}.mlp.fc1", "{0}.mlp.act.gelu", "{0}.mlp.fc2", "{0}.mul", "{0}.add"]
    shown = browser.execute_script(
        """
        const found = [];
        for (const own of document.querySelectorAll("#network details.module > summary, #network .layer .head"))
          found.push(own.title + (own.matches(".head") && own.closest("details")?.firstChild.title === own.title ? "*" : ""));
        return found;
        """
    )
    expected = [
        "blocks",
        *(own.format("blocks.0") for own in block),
        *(own.format("blocks.1") for own in block),
        "between",
    ]
    assert shown == expected
    drawn = {
        (button.get_attribute("data-layer"), button.get_attribute("data-quantity"))
        for button in all_of(browser, "#network button:not(:disabled)")
    }
    assert drawn == set(zip(report.table["layer"], report.table["quantity"], strict=True))
    assert one(browser, "[title='blocks.0.mlp.act.gelu']").text.startswith("act.gelu\n")
    inner = one(browser, "[data-layer='blocks.1.mlp.fc1'][data-quantity='grad.weight']")
    browser.execute_script("for (const own of document.querySelectorAll('details.module')) own.open = false")
    assert not inner.is_displayed()
    show(browser, tmp_path / "report.html", "#case=Net&dtype=float32&layer=blocks.1.mlp.fc1&quantity=grad.weight")
    assert one(browser, "#network [aria-pressed='true']").is_displayed()
    assert browser.get_log("browser") == []


def test_what_is_not_judged_is_named(browser: Any, tmp_path: Path) -> None:
    """By its place and the reason, in the list of runs and in the network."""
    import torch

    class Opaque(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = torch.nn.Linear(4, 4)

        def forward(self, x: Any) -> Any:
            return torch.linalg.eigvals(self.fc(x)).real

    report = oracle.check_module(Opaque(), torch.randn(4, 4))
    report.to_html(tmp_path / "report.html")
    show(browser, tmp_path / "report.html")
    (line,) = all_of(browser, "[aria-label='Runs that do not pass'] tbody tr")
    assert "linalg_eig" in line.text and "there is no rule for linalg_eig" in line.text
    assert one(browser, "#network [data-layer='linalg_eig'][aria-pressed='true']").text == "unjudged"
    assert "| linalg_eig |" in report.to_markdown()
    assert browser.get_log("browser") == []


def test_a_crash_is_shown_as_what_it_is(browser: Any, tmp_path: Path) -> None:
    report = oracle.run(Hostile(), cases="worked-example", dtypes=("float64",))
    report.to_html(tmp_path / "report.html")
    show(browser, tmp_path / "report.html")
    assert "crashed" in one(browser, "#summary .chips").text and "hacked" not in browser.title
    assert set(column(browser, 7)) == {"crashed"}
    assert browser.get_log("browser") == []


@pytest.mark.slow
def test_it_stays_quick(
    browser: Any, report: oracle.Report, tmp_path: Path, record_property: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """First paint, readiness and filter keystrokes with many rows: measured and told, right whatever they are."""
    enlarged(report, LARGE).to_html(tmp_path / "large.html")
    show(browser, tmp_path / "large.html")
    paint = browser.execute_script("return performance.getEntriesByName('first-contentful-paint')[0].startTime")
    ready = browser.execute_script("return Number(document.documentElement.dataset.ready)")
    keystrokes = browser.execute_async_script(
        """
        const done = arguments[0], field = document.getElementById("filter"), found = [], text = "conv2 grad z_max>3";
        let place = 0;
        const key = () => {
          if (place === text.length) { done(found); return; }
          field.value = text.slice(0, ++place);
          const start = performance.now();
          field.dispatchEvent(new Event("input"));
          requestAnimationFrame(() => setTimeout(() => { found.push(performance.now() - start); key(); }));
        };
        key();
        """
    )
    told = {
        "rows": LARGE,
        "bytes": (tmp_path / "large.html").stat().st_size,
        "first paint, ms": round(paint),
        "ready, ms": round(ready),
        "slowest keystroke, ms": round(max(keystrokes)),
    }
    for name, value in told.items():
        record_property(name, value)
    with capsys.disabled():
        print(f"\n{told}")
    assert one(browser, "#shown").text.endswith("of 50,000 rows")
