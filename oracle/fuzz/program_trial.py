"""The work on one random program, in this process or in a worker: torch runs it, and the table of rules says what is due."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from oracle.fuzz import draw
from oracle.fuzz.outcome import Job, Outcome, short
from oracle.fuzz.owner import JUDGE, UNSETTLED, Owner
from oracle.fuzz.programs import RandomProgram, drawn
from oracle.judging.profile import Profile
from oracle.judging.rows import CONVENTION, FAILED, GRAVITY, PASS
from oracle.modules.check import check_module
from oracle.ops.programs import check_program
from oracle.programs.execution import SAME, Plain, Run
from oracle.programs.torch_calls import record
from oracle.report.report import Report
from oracle.subjects.torch import array, tensor
from oracle.subjects.torch_functions import from_torch
from oracle.wording.errors import failure

KNOWN = "known error of torch"


class ProgramModule(torch.nn.Module):
    """A program as a module, whose operations are judged one by one."""

    def __init__(self, program: RandomProgram) -> None:
        super().__init__()
        self.function = program.function

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return self.function(*inputs)


def of_number(job: Job) -> RandomProgram:
    """The program of a campaign's number."""
    settings = job.settings
    return drawn(settings.seed, draw.turn_of(job.number, settings.kinds)[1], str(job))


def operation_by_operation(program: RandomProgram) -> Report:
    """Each call of the program on the numbers that it really received."""
    given = tuple(tensor(own).requires_grad_() for own in program.arrays.values())
    return check_module(ProgramModule(program), given, unjudged="allow")


def from_its_inputs(program: RandomProgram) -> Report:
    """The whole program, from its inputs on, with errors propagated."""
    function = program.function
    return check_program(function, from_torch(function), (program.dtype,), Profile(), program.arrays)


def judged(job: Job) -> Outcome:
    """The outcome of a program. A failure of the harness is the judge's."""
    blank = Outcome(job.number, "", draw.PROGRAMS, PASS)
    try:
        program = of_number(job)
        blank = blank._replace(dtype=program.dtype, operation=program.operation)
        return of_program(blank, program)
    except Exception as error:  # of the harness: it costs this program only
        return blank._replace(verdict=FAILED, owner=JUDGE, words=short(failure(error)))


def of_program(blank: Outcome, program: RandomProgram) -> Outcome:
    """The outcome of a program, in both ways of judging."""
    reports = [operation_by_operation(program), from_its_inputs(program)]
    rows = [row for report in reports for row in report.table.to_dict(orient="records")]
    known = next((row for row in rows if row["diagnosis"].startswith(KNOWN)), None)
    # End to end a known error of an operation shows again, in whatever is computed from it.
    accused = next((own.blame[0] for own in (reports[:1] if known else reports) if own.blame), None)
    if accused is not None:
        who = owner(program)
        return blank._replace(
            operation=accused.layer_type or blank.operation,
            verdict=accused.verdict,
            owner=who.name,
            quantity=accused.quantity,
            cause=accused.cause_name,
            words=short(f"{accused.layer}: {accused.diagnosis}; {who.why}"),
        )
    if known is not None:
        return blank._replace(
            operation=known["layer_type"],
            verdict=CONVENTION,
            owner="torch",
            quantity=known["quantity"],
            words=short(f"{known['layer']}: {known['diagnosis']}"),
        )
    gravest = max(rows, key=lambda row: GRAVITY[row["verdict"]])
    if gravest["verdict"] == PASS:
        return blank
    return blank._replace(verdict=gravest["verdict"], quantity=gravest["quantity"], words=short(gravest["diagnosis"]))


def owner(program: RandomProgram) -> Owner:
    """Who errs where a program is accused. If the rules and torch agree in double precision, they use the same formulas, and only
    rounding differs."""
    double = replace(program, autocast=False, arrays={n: own.astype(np.float64) for n, own in program.arrays.items()})
    function, given = double.function, [tensor(own).requires_grad_() for own in double.arrays.values()]
    recorded, _ = record(function, *given)
    output, run = function(*given), Run(recorded, Plain())
    upstream = np.asarray(np.random.default_rng(0).standard_normal(tuple(output.shape)))
    theirs = torch.autograd.grad(output, given, tensor(upstream), allow_unused=True)
    pairs = [(output.detach(), run.outputs[0]), *zip(theirs, run.gradients([upstream]), strict=True)]
    for got, due in pairs:
        known = np.zeros(()) if due is None else np.asarray(due)
        said = np.zeros(()) if got is None else array(got)
        if not np.max(np.abs(said - known), initial=0.0) <= SAME * np.max(np.abs(known), initial=0.0):
            return Owner(UNSETTLED, "torch and the rules differ in double precision")
    return Owner(JUDGE, "torch and the rules agree in double precision")


def script(job: Job) -> str:
    """A script that shows the program and judges it again."""
    program = of_number(job)
    seed, kinds = job.settings.seed, job.settings.kinds
    lines = [
        "import torch",
        "",
        "from oracle.fuzz import program_trial",
        "from oracle.fuzz.outcome import Job, Settings",
    ]
    lines += ["", *(f"# {line}" for line in program.source.splitlines()), ""]
    lines += [f'job = Job(Settings("torch", "torch", {seed}, {kinds!r}), {job.number})']
    lines += ["program = program_trial.of_number(job)", "print(program_trial.operation_by_operation(program))"]
    return "\n".join([*lines, "print(program_trial.from_its_inputs(program))"])
