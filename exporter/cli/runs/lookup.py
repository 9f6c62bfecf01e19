"""Which transforms a person means: by id, by configured name, by the name that Glue knows, or all."""

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from exporter.cli.output.fields import printable
from exporter.cli.output.progress import Report, told
from exporter.config.settings import Config
from exporter.errors import GlueError
from exporter.glue.client import GlueClients
from exporter.model.transform import Lane, Target
from exporter.polling.discovery import find
from exporter.polling.targets import configured_targets, merge_targets

_WHOLE_ID = re.compile("tfm-[0-9a-f]{40}")


class Directory:
    """The transforms of a configuration and of its accounts and regions, for one who looks for some of them."""

    def __init__(self, config: Config, clients: GlueClients, report: Report, *, region: str | None) -> None:
        """Take where to complain, and the one region to look in, None for all of the configuration."""
        self._config = config
        self._clients = clients
        self._report = report
        self._region = region
        self._configured = [one for one in configured_targets(config) if region in (None, one.lane.region)]
        self._names: dict[Lane, dict[str, str] | None] = {}

    def all(self) -> tuple[Target, ...]:
        """Return every transform that is configured or discovered."""
        return merge_targets(self._configured, self._discovered())

    def named(self, wanted: Sequence[str]) -> tuple[Target, ...]:
        """Return the transforms with these ids or names; one that is not to be found is complained about."""
        return merge_targets((), (target for word in wanted for target in self._found(word)))

    def labels(self, targets: Sequence[Target]) -> dict[str, str]:
        """Return by id what people call each transform: its configured name, else that in Glue, else its id.

        For one transform alone Glue is not asked: who asked for it knows what it is.
        """
        unnamed = {target.lane for target in targets if not target.name} if len(targets) > 1 else set()
        known: dict[str, str] = {}
        for lane in unnamed:
            known |= self._ask_names(lane, needed=False) or {}
        return {one.id: printable(one.name or known.get(one.id) or one.id) for one in targets}

    def _discovered(self) -> Iterable[Target]:
        lanes = ((wanted, Lane(wanted.account, name)) for wanted in self._config.discovery for name in wanted.regions)
        for wanted, lane in lanes:
            if self._region not in (None, lane.region):
                continue
            self._report.progress(f"looking for transforms in {lane.account} {lane.region}")
            try:
                ids = find(wanted, self._clients.client_for(lane), page_size=self._config.polling.page_size)
            except GlueError as error:
                self._report.complain(f"{lane.account} {lane.region}: {told(error)}")
                continue
            for transform_id in ids:
                yield Target(transform_id, lane)

    def _found(self, word: str) -> list[Target]:
        configured = [target for target in self._configured if word in (target.id, target.name)]
        if configured:
            return configured
        lanes = self._lanes()
        if len(lanes) == 1 and _WHOLE_ID.fullmatch(word):
            return [Target(word, lanes[0])]
        complaints = self._report.complaints
        found = [
            Target(transform_id, lane, name)
            for lane in lanes
            for transform_id, name in (self._ask_names(lane, needed=True) or {}).items()
            if word in (transform_id, name)
        ]
        if not found and complaints == self._report.complaints:
            self._report.complain(self._unknown(word, lanes))
        return found

    def _lanes(self) -> list[Lane]:
        """Return where a transform may be that the configuration does not name."""
        config = self._config
        if self._region is not None:
            return [Lane(account.name, self._region) for account in config.accounts]
        lanes = [Lane(account.name, config.region) for account in config.accounts if config.region]
        lanes += [target.lane for target in self._configured]
        lanes += [Lane(wanted.account, region) for wanted in config.discovery for region in wanted.regions]
        return list(dict.fromkeys(lanes))

    def _ask_names(self, lane: Lane, *, needed: bool) -> dict[str, str] | None:
        """Return the names of an account and region by id, None if they are not to be had; that matters if needed."""
        if lane not in self._names:
            self._report.progress(f"reading the names of transforms in {lane.account} {lane.region}")
            try:
                names = self._clients.client_for(lane).transform_names(page_size=self._config.polling.page_size)
            except GlueError as error:
                if needed:
                    self._report.complain(f"names of transforms in {lane.account} {lane.region}: {told(error)}")
                self._names[lane] = None
            else:
                self._names[lane] = names
        return self._names[lane]

    def _unknown(self, word: str, lanes: Sequence[Lane]) -> str:
        known = {name for names in self._names.values() for item in (names or {}).items() for name in item}
        known |= {name for target in self._configured for name in (target.id, target.name) if name}
        near = get_close_matches(word, sorted(known - {""}), n=1)
        places = ", ".join(f"{lane.account} {lane.region}" for lane in lanes)
        hint = f"did you mean {near[0]}?" if near else "glue-ml-exporter runs --all shows all"
        return f"no transform {word!r} in {places or 'the configuration'}; {hint}"
