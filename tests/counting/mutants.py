"""Plausible mistakes in the counting code, each made by a change of one function's syntax tree.

As a pytest plugin this runs the collected tests once with each of the mistakes that they are to find, each time in a
forked process. It exits with 0 if every run has a failed test::

    python -m pytest -x -p tests.counting.mutants tests/counting/test_ledger.py

``MUTANT="skip the overlap"`` in the environment selects one mistake.

A mutant names a function, and a statement, call or condition in it, without quoting the text. So most edits of
the function leave the mutant valid. A mutant that no longer fits the function raises LookupError.
"""

import ast
import importlib
import inspect
import os
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType
from typing import NamedTuple

import pytest

Mutation = Callable[[ast.FunctionDef], None]


class Mutant(NamedTuple):
    """One mistake in one function, and the tests that find it.

    Other tests may find the mistake too. Only the named tests run, because all tests would take an hour.
    """

    mistake: str
    function: str
    """``module:Class.function``, the module without the leading ``exporter.``."""
    mutation: Mutation
    found_by: str = "counting/test_ledger.py"
    """A file, whose quick tests find the mistake, or one test; relative to ``tests/``."""

    @property
    def file(self) -> str:
        return self.found_by.partition("::")[0]


# -- mutations: each takes the definition of a function and changes it in place ----------------------------------------


def assign(target: str, value: str) -> Mutation:
    """Assign another value wherever the function assigns to the variable or attribute ``target``."""

    def mutate(function: ast.FunctionDef) -> None:
        for statement in _found(s for s in _statements(function) if target in _assigned_names(s)):
            statement.value = _expression(value)  # type: ignore[attr-defined] # an assignment has a value

    return mutate


def read(name: str, instead: str) -> Mutation:
    """Read the expression ``instead`` wherever the function reads the variable or attribute ``name``."""
    return _replace(lambda node: _name_of(node) == name and isinstance(getattr(node, "ctx", None), ast.Load), instead)


def call(name: str, instead: str) -> Mutation:
    """Replace each call of the function or method ``name`` by an expression."""
    return _replace(lambda node: isinstance(node, ast.Call) and _name_of(node.func) == name, instead)


def condition(number: int, instead: str) -> Mutation:
    """Replace the condition of the ``if`` statement with this index, counted from 0; -1 is the last one."""

    def mutate(function: ast.FunctionDef) -> None:
        ifs = [statement for statement in _statements(function) if isinstance(statement, ast.If)]
        ifs[number].test = _expression(instead)

    return mutate


def returns(value: str) -> Mutation:
    """Return this value from each ``return`` statement."""

    def mutate(function: ast.FunctionDef) -> None:
        for statement in _found(s for s in _statements(function) if isinstance(s, ast.Return)):
            statement.value = _expression(value)

    return mutate


def drop(name: str, number: int | None = None) -> Mutation:
    """Drop the statements that assign to ``name`` or call it; an index selects only one of the statements."""

    def mutate(function: ast.FunctionDef) -> None:
        found = _found(s for s in _statements(function) if name in (*_assigned_names(s), _called_name(s)))
        for statement in found if number is None else [found[number]]:
            _replace_statement(function, statement, ast.Pass())

    return mutate


def add_first(statement: str) -> Mutation:
    """Add a statement before all others."""
    return lambda function: function.body.insert(0, ast.parse(statement).body[0])


def add_last(statement: str) -> Mutation:
    """Add a statement at the end, before a final ``return``."""

    def mutate(function: ast.FunctionDef) -> None:
        end = len(function.body) - isinstance(function.body[-1], ast.Return)
        function.body.insert(end, ast.parse(statement).body[0])

    return mutate


def _expression(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body


def _statements(function: ast.FunctionDef) -> list[ast.stmt]:
    """Return all statements in the order of the source."""
    found = [node for node in ast.walk(function) if isinstance(node, ast.stmt) and node is not function]
    return sorted(found, key=lambda statement: (statement.lineno, statement.col_offset))


def _name_of(node: ast.AST) -> str:
    """Return the name of a variable or the last name of an attribute; otherwise an empty text."""
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _assigned_names(statement: ast.stmt) -> list[str]:
    targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
    nodes = [target.value if isinstance(target, ast.Subscript) else target for target in targets if target is not None]
    return [_name_of(node) for node in nodes] if not isinstance(statement, ast.For) else []


def _called_name(statement: ast.stmt) -> str:
    is_call = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call)
    return _name_of(statement.value.func) if is_call else ""  # type: ignore[attr-defined] # is_call says so


def _found(statements: Iterator[ast.stmt]) -> list[ast.stmt]:
    found = list(statements)
    if not found:
        raise LookupError("the mutant does not fit its function any more: no such statement")
    return found


def _replace(is_wanted: Callable[[ast.AST], bool], instead: str) -> Mutation:
    class Replacer(ast.NodeTransformer):
        replaced = 0

        def visit(self, node: ast.AST) -> ast.AST:
            if is_wanted(node):
                self.replaced += 1
                return _expression(instead)
            return self.generic_visit(node)

    def mutate(function: ast.FunctionDef) -> None:
        replacer = Replacer()
        replacer.visit(function)
        if not replacer.replaced:
            raise LookupError("the mutant does not fit its function any more: no such expression")

    return mutate


def _replace_statement(function: ast.FunctionDef, old: ast.stmt, new: ast.stmt) -> None:
    for node in ast.walk(function):
        for name in ("body", "orelse", "finalbody"):
            body = getattr(node, name, None)
            if isinstance(body, list) and old in body:
                body[body.index(old)] = new


# -- making a mistake --------------------------------------------------------------------------------------------------


def mutated(mutant: Mutant) -> tuple[FunctionType, CodeType]:
    """Return the function and the code of its mutant; LookupError if the mutant does not fit the function."""
    module_name, _, qualified_name = mutant.function.partition(":")
    module = importlib.import_module(f"exporter.{module_name}")
    tree = ast.parse(inspect.getsource(module))
    scope: ast.AST = tree
    owner: object = module
    for name in qualified_name.split("."):
        definitions = [node for node in getattr(scope, "body", []) if getattr(node, "name", "") == name]
        if not definitions:
            raise LookupError(f"there is no {mutant.function}")
        scope, owner = definitions[0], inspect.getattr_static(owner, name)
    assert isinstance(scope, ast.FunctionDef)
    function = owner.fget if isinstance(owner, property) else owner
    assert isinstance(function, FunctionType)
    before = ast.dump(scope)
    mutant.mutation(scope)
    if ast.dump(scope) == before:
        raise LookupError("the mutant does not change its function")
    code = compile(ast.fix_missing_locations(tree), str(module.__file__), "exec")
    return function, next(part for part in _codes(code) if part.co_qualname == qualified_name)


def _codes(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _codes(constant)


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Fork a process for each mistake. The process returns None and runs its tests, and this one waits for it."""
    missed = []
    for mutant, tests in _to_find(session.items):
        process = os.fork()
        if not process:
            function, code = mutated(mutant)
            function.__code__ = code
            session.items[:] = tests
            return None
        exit_code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        if exit_code != pytest.ExitCode.TESTS_FAILED:  # any other exit code means that pytest could not run them
            missed.append(f"{mutant.mistake} ({len(tests)} tests, exit code {exit_code})")
    if missed:
        pytest.exit(f"no test fails with these mistakes: {', '.join(missed)}", returncode=1)
    return True


def _to_find(items: list[pytest.Item]) -> Iterator[tuple[Mutant, list[pytest.Item]]]:
    """Yield each mistake that tests of these files are to find, with those of the tests."""
    files = {item.nodeid.partition("::")[0] for item in items}
    for mutant in MUTANTS:
        if f"tests/{mutant.file}" in files and os.environ.get("MUTANT", mutant.mistake) == mutant.mistake:
            named = [item for item in items if item.nodeid.startswith(f"tests/{mutant.found_by}")]
            quick = [item for item in named if item.get_closest_marker("slow") is None]
            yield mutant, quick if mutant.found_by == mutant.file else named


# -- the mistakes ------------------------------------------------------------------------------------------------------

_POLLS = "counting/test_poll_sequences.py"
_RESTARTS = "counting/test_restarts_and_reloads.py"
_HISTORY = "counting/test_history.py"
_INCOMPLETE = "counting/test_incomplete_runs.py"
_BAD_ANSWERS = "counting/test_bad_answers.py"
_BASELINE = "counting/test_baseline_pages.py::test_a_page_gives_the_same_result_as_its_runs"
_DECODE = "glue/test_decode.py"
_INITIAL = "exposition/test_initial_values.py"
_SERVED = "exposition/test_served_record.py"
_STATE = "state/test_store.py"
_DAMAGED = f"{_STATE}::test_a_damaged_row_costs_only_its_transform"

MUTANTS = (
    Mutant("skip the overlap", "counting.ledger:Ledger.since", read("overlap", "0.0")),
    Mutant(
        "forget finished runs an hour early",
        "counting.finished_runs:FinishedRuns.remove_before",
        read("cutoff", "(cutoff + 3600)"),
    ),
    Mutant(
        "never forget runs that were listed late",
        "counting.finished_runs:FinishedRuns.update",
        drop("heappush"),
    ),
    Mutant(
        "leave replaced and forgotten runs in the gauges",
        "counting.finished_runs:FinishedRuns.remove",
        drop("counts"),
    ),
    Mutant("watch since for ever", "counting.ledger:Ledger.__init__", assign("watched_since", "0.0")),
    Mutant(
        "count a run when it is first seen open and again when it ends",
        "counting.reading:Reading._add_open",
        add_last("self.finished[fingerprint] = run"),
    ),
    Mutant(
        "call all runs before the cutoff forgotten",
        "counting.ledger:Ledger._forget",
        assign("forgotten_until", "cutoff"),
        _POLLS,
    ),
    Mutant("let forgotten runs be new", "counting.ledger:Ledger._forget", drop("forgotten_until")),
    Mutant(
        "let a longer lookback forget what was forgotten",
        "counting.ledger:Ledger._is_later",
        read("forgotten_until", "self.floor"),
        _HISTORY,
    ),
    Mutant(
        "count again when a finished run changes its status",
        "counting.reading:Reading._add_known",
        add_first("if packed & CODE_MASK != code:\n    self.finished[fingerprint] = raw"),
    ),
    Mutant("look up no open run that the listing omits", "counting.reading:Reading.unlisted", returns("[]")),
    Mutant(
        "count duplicates on pages",
        "counting.reading:Reading._add_final",
        assign("packed", "known"),
        f"{_POLLS}::test_a_run_on_two_pages_starts_and_ends_once",
    ),
    Mutant(
        "count a run that completed before the exporter looked",
        "counting.ledger:Ledger.is_new",
        condition(2, "False"),
        _HISTORY,
    ),
    Mutant(
        "count a run that an old answer showed open",
        "counting.ledger:Ledger.is_new",
        condition(1, "seen_open and False"),
        _HISTORY,
    ),
    Mutant(
        "take a run for seen open that the same poll lists as open and as ended",
        "counting.reading:Reading._count_if_new",
        assign("was_open", "was_open or listed_open or run.run_id in ledger.open or run.run_id in ledger.missing"),
        _HISTORY,
    ),
    Mutant(
        "count a start twice that the same poll lists as open and as ended",
        "counting.reading:Reading._add_final",
        assign("listed_open", "self.open.pop(run.run_id, None) and None"),
        _HISTORY,
    ),
    Mutant(
        "watch since the first good poll",
        "polling.monitored_transform:MonitoredTransform.read",
        condition(0, "True"),
        _HISTORY,
    ),
    Mutant(
        "watch since a time of the host's clock",
        "polling.monitored_transform:MonitoredTransform.date",
        assign("since", "None"),
        _HISTORY,
    ),
    Mutant(
        "forget at a restart since when a failing transform is watched",
        "polling.poller:Poller._poll",
        drop("_store", 0),
        _HISTORY,
    ),
    Mutant(
        "keep a run open that an old answer showed open",
        "counting.reading:Reading._count_if_new",
        drop("append", 0),
        _HISTORY,
    ),
    Mutant(
        "never look up a run that lacks a time",
        "counting.reading:Reading.unlisted",
        returns("not_ended"),
        _INCOMPLETE,
    ),
    Mutant(
        "look up a run that lacks a time for ever",
        "counting.incomplete_runs:still_awaited",
        read("AWAITED_FOR", "1e18"),
        _INCOMPLETE,
    ),
    Mutant(
        "never observe the times that come late",
        "counting.ledger:Ledger.commit",
        drop("_observe_times"),
        _INCOMPLETE,
    ),
    Mutant(
        "observe all times again when one comes late",
        "counting.ledger:Ledger._observe_times",
        read("before", "None"),
        _INCOMPLETE,
    ),
    Mutant(
        "count again a run whose times come late",
        "counting.reading:Reading._add_times",
        condition(2, "after.counted"),
        _INCOMPLETE,
    ),
    Mutant(
        "open a run again that has ended and lacks a time",
        "counting.reading:Reading.add",
        condition(2, "fingerprint in self.upserts"),
        _INCOMPLETE,
    ),
    Mutant(
        "take a run without an end for history although it ended since",
        "counting.reading:Reading._add_times",
        condition(0, "False"),
        _INCOMPLETE,
    ),
    Mutant(
        "forget at a restart which runs lack a time",
        "state.store:_incomplete_runs",
        returns("[]"),
        _INCOMPLETE,
    ),
    Mutant(
        "forget a run that lacks a time when it leaves the lookback",
        "counting.reading:Reading._add_final",
        assign("is_new", "self._count_if_new(run, fingerprint, was_open=False, listed_open=False)"),
        _INCOMPLETE,
    ),
    Mutant(
        "read the whole lookback again at once after it could not be read",
        "polling.monitored_transform:MonitoredTransform.read",
        assign("polls_before_full_read", "0"),
        _BAD_ANSWERS,
    ),
    Mutant(
        "wait ever longer after a good read of the lookback",
        "polling.monitored_transform:MonitoredTransform.read",
        assign("failed_full_reads", "self.failed_full_reads + 1"),
        _BAD_ANSWERS,
    ),
    Mutant(
        "call a run missing whose look-up is denied",
        "polling.monitored_transform:MonitoredTransform._look_up",
        condition(0, "False"),
        _BAD_ANSWERS,
    ),
    Mutant(
        "look up first the runs whose look-up failed",
        "polling.monitored_transform:MonitoredTransform._look_up",
        assign("not_failed", "unlisted"),
        _BAD_ANSWERS,
    ),
    Mutant(
        "let one malformed run cost its page",
        "glue.decode:_decode_run_by_run",
        condition(1, "last_error is not None"),
        _DECODE,
    ),
    Mutant(
        "take a page of malformed runs for an empty page",
        "glue.decode:_decode_run_by_run",
        condition(1, "False"),
        _DECODE,
    ),
    Mutant(
        "take a page as a whole that has a run which completed since",
        "counting.reading:Reading._add_baseline_page",
        assign("is_history", "max(ends) <= self.aws_now"),
        _HISTORY,
    ),
    Mutant(
        "let a start in the future move the watermark",
        "counting.reading:Reading.add",
        assign("watermark", "started + 86400"),
    ),
    Mutant(
        "treat every poll as the first",
        "counting.reading:Reading.__init__",
        assign("_has_baseline", "False"),
        _BASELINE,
    ),
    Mutant(
        "add a page as a whole that has a run which was open before",
        "counting.reading:Reading._add_baseline_page",
        condition(-1, "False"),
        _BASELINE,
    ),
    Mutant(
        "add a page as a whole once there is a baseline",
        "counting.reading:Reading.add_page",
        condition(0, "not self._add_baseline_page(page)"),
        _BASELINE,
    ),
    Mutant(
        "let the host's clock decide what is new",
        "counting.reading:Reading.add",
        assign("now", "self.now"),
        _HISTORY,
    ),
    Mutant(
        "take the host's clock as the start of known runs",
        "counting.reading:Reading._add_known",
        assign("effective_time", "self.now"),
    ),
    Mutant(
        "count the start of a missing run again",
        "counting.reading:Reading._add_open",
        assign("known", "run.run_id in ledger.open or run.run_id in self.open"),
    ),
    Mutant(
        "forget that an old open run was missing",
        "counting.reading:Reading._count_if_new",
        assign("was_open", "was_open or run.run_id in ledger.open"),
        f"{_POLLS}::test_an_old_open_run_that_was_missing_once_counts_when_it_ends",
    ),
    Mutant(
        "put an observation on a bound into the next bucket",
        "counting.counters:Histogram.plus",
        call("bisect_left", "sum(bound <= exemplar.value for bound in bounds)"),
        "counting/test_counters.py",
    ),
    Mutant(
        "serve a new series with its true value at once",
        "exposition.initial_values:_Hold.is_over",
        returns("True"),
        _INITIAL,
    ),
    Mutant(
        "begin a hold at a scrape of an older publication",
        "exposition.initial_values:InitialValues.scraped",
        condition(0, "hold.shown_at is None"),
        _INITIAL,
    ),
    Mutant(
        "begin a hold again at each scrape",
        "exposition.initial_values:InitialValues.scraped",
        condition(0, "hold.publication <= publication"),
        _INITIAL,
    ),
    Mutant(
        "end a hold that nobody has scraped yet",
        "exposition.initial_values:_Hold.is_over",
        returns("tick >= (self.shown_at or 0.0) + hold"),
        _INITIAL,
    ),
    Mutant(
        "hold a series for ever",
        "exposition.initial_values:_Hold.is_over",
        returns("hold <= 0"),
        _INITIAL,
    ),
    Mutant(
        "hold a later series no longer than the first ones",
        "exposition.initial_values:InitialValues.publish",
        call("get", "first"),
        _INITIAL,
    ),
    Mutant(
        "hold a series that is added later with all others that are added later",
        "exposition.initial_values:InitialValues._begin_hold",
        assign("hold", "self._holds[-1] if self._holds else _Hold(publication)"),
        _INITIAL,
    ),
    Mutant(
        "hold series also when holding is off",
        "exposition.initial_values:InitialValues._begin_hold",
        condition(0, "True"),
        _INITIAL,
    ),
    Mutant(
        "count the hold from the publication after the scrape",
        "exposition.publisher:Exposition.publish",
        call("scraped", "self._transforms.scraped(self._sent.popleft()[0], self._tick())"),
        _INITIAL,
    ),
    Mutant(
        "wait for a poll to end a hold",
        "exposition.publisher:Exposition.publish",
        drop("release"),
        _INITIAL,
    ),
    Mutant(
        "wait for a change to end a hold",
        "exposition.publisher:Exposition._until_next_release",
        returns("None"),
        _INITIAL,
    ),
    Mutant(
        "let the timer wait for the old hold after a reload",
        "exposition.publisher:Exposition.configure",
        drop("set"),
        _INITIAL,
    ),
    Mutant(
        "wait for the hold of a removed transform",
        "exposition.shown_transforms:ShownTransforms._forget_initial_values",
        drop("pop"),
        _INITIAL,
    ),
    Mutant(
        "count a scrape that was broken off",
        "exposition.publisher:Exposition._answer",
        add_first("self._note_sent(publication.number)"),
        _INITIAL,
    ),
    Mutant(
        "serve the true value first after a restart",
        "exposition.initial_values:InitialValues.__init__",
        assign("served", "{}"),
        _SERVED,
    ),
    Mutant(
        "serve 0 again when a removed transform returns",
        "exposition.initial_values:InitialValues._take_over",
        add_last("self.served, self.recorded = {}, {}"),
        _INITIAL,
    ),
    Mutant(
        "take over the recorded values before the last scrape of the old ones",
        "exposition.initial_values:InitialValues.restarted",
        add_last("successor._take_over()"),
        _RESTARTS,
    ),
    Mutant(
        "serve a value before it is recorded",
        "exposition.publisher:Exposition.scrape",
        condition(0, "variant not in publication.bodies"),
        _SERVED,
    ),
    Mutant(
        "count a scrape without counters as one that showed their base",
        "exposition.shown_transforms:ShownTransforms._choose_values",
        condition(0, "False"),
        f"{_RESTARTS}::test_a_scrape_before_the_first_good_poll_shows_no_base_value",
    ),
    Mutant(
        "keep forgotten runs in the state file",
        "state.store:StateFile._drop_finished",
        drop("executemany"),
        "counting/test_random_polls.py",
    ),
    Mutant(
        "drop a removed transform one lookback after its last run",
        "state.store:StateFile.drop_unconfigured",
        read("_configured", "frozenset()"),
        f"{_RESTARTS}::test_a_quiet_transform_that_leaves_is_stored_for_the_whole_lookback",
    ),
    Mutant(
        "never store the changes of a poll that could not be stored",
        "state.store:StateFile.save",
        drop("add"),
        _SERVED,
    ),
    Mutant(
        "do not compare the checksum of a transform",
        "state.checksum:verified_rows",
        condition(0, "False"),
        _DAMAGED,
    ),
    Mutant(
        "do not compare the checksum of the finished runs",
        "state.checksum:check_finished",
        condition(0, "False"),
        _DAMAGED,
    ),
    Mutant(
        "delete transforms before discovery has found all",
        "state.store:StateFile.drop_unconfigured",
        condition(0, "True"),
        f"{_STATE}::test_no_transform_is_dropped_while_discovery_may_find_more",
    ),
    Mutant(
        "take any successful write as the end of a full disk",
        "state.open_file:OpenFile._note_success",
        condition(-1, "True"),
        f"{_STATE}::test_a_full_disk_is_logged_once_for_all_transforms",
    ),
    Mutant(
        "go on with a file that was deleted",
        "state.open_file:OpenFile._ensure_file",
        condition(2, "True"),
        f"{_STATE}::test_a_deleted_file_is_written_again",
    ),
    Mutant(
        "forget the last successful poll of an earlier process",
        "polling.monitored_transform:MonitoredTransform.succeeded",
        read("restored_success", "None"),
        f"{_STATE}::test_the_last_successful_poll_survives_a_restart",
    ),
    Mutant(
        "show a new name before it is stored",
        "polling.poller:Poller._poll",
        drop("_store", -1),
        _RESTARTS,
    ),
)
