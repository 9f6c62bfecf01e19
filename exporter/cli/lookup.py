"""Find the transforms that the user means: by id, by configured name, by the name in Glue, or all."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from functools import partial

from exporter.cli.flags import PROGRAM
from exporter.cli.output.fields import printable
from exporter.cli.output.progress import Progress, error_text
from exporter.config.settings import Config, DiscoverySettings
from exporter.glue.client import GlueClient, GlueClients
from exporter.model.errors import GlueError
from exporter.model.transform import Details, Lane, Target
from exporter.polling.discovery import find
from exporter.polling.targets import configured_targets, merge_targets

_COMPLETE_ID = re.compile("tfm-[0-9a-f]{40}")


class TransformLookup:
    """Finds transforms in a configuration and in its accounts and regions.

    A failed call is reported with `Progress.error`, and the search for other transforms continues.
    """

    def __init__(self, config: Config, clients: GlueClients, progress: Progress, *, region: str | None) -> None:
        """Search only in `region`, or in all regions if it is None. Failures are reported to `progress`."""
        self._config = config
        self._clients = clients
        self._progress = progress
        self._region = region
        self._configured = [target for target in configured_targets(config) if region in (None, target.lane.region)]
        self._listed: dict[Lane, dict[str, Details] | None] = {}

    def all(self) -> tuple[Target, ...]:
        """Return every transform that is configured or discovered, each once."""
        return merge_targets(self._configured, self._discovered())

    def everything(self) -> tuple[Target, ...]:
        """Return every transform in the accounts and regions of the configuration, each once."""
        found = [target for lane in self._lanes() for target in self._found(lane, _without_filters)]
        ids = {target.id for target in found}
        return merge_targets((target for target in self._configured if target.id in ids), found)

    def details(self, target: Target) -> Details:
        """Return at least name and status of a transform.

        Raises:
            GlueError: a call to AWS failed, or the transform does not exist.
        """
        listed = self._listed_in_glue(target.lane, required=False) or {}
        # The permission for GetMLTransforms may be missing, or the transform may be missing in the answer.
        return listed.get(target.id) or self._clients.client_for(target.lane).details(target.id)

    def named(self, words: Sequence[str]) -> tuple[Target, ...]:
        """Return all transforms that have one of these ids or names. A word that matches nothing is an error."""
        return merge_targets((), (target for word in words for target in self._matching(word)))

    def with_names(self, targets: Sequence[Target], *, read: bool) -> tuple[Target, ...]:
        """Return the transforms with their names in Glue where no name is configured.

        Unless `read`, only those names are used that are known without a further call.
        """
        lanes = {target.lane for target in targets if not target.name and (read or target.lane in self._listed)}
        names = {lane: self._names_in_glue(lane, required=False) for lane in lanes}
        named = ((target, target.name or names.get(target.lane, {}).get(target.id)) for target in targets)
        return tuple(replace(target, name=name or None) for target, name in named)

    def _discovered(self) -> Iterable[Target]:
        for wanted in self._config.discovery:
            search = partial(_matching_filters, wanted)
            for region in wanted.regions:
                if self._region in (None, region):
                    yield from self._found(Lane(wanted.account, region), search)

    def _found(self, lane: Lane, search: Callable[[GlueClient, int], list[str]]) -> list[Target]:
        """Return the transforms that `search` finds; it takes the client and the page size, and returns ids."""
        self._progress.show(f"searching for transforms in {lane.account} {lane.region}")
        try:
            ids = search(self._clients.client_for(lane), self._config.polling.page_size)
        except GlueError as error:
            self._progress.error(f"{lane.account} {lane.region}: {error_text(error)}")
            return []
        return [Target(transform_id, lane) for transform_id in ids]

    def _matching(self, word: str) -> list[Target]:
        configured = [target for target in self._configured if word in (target.id, target.name)]
        if configured:
            return configured
        lanes = self._lanes()
        if len(lanes) == 1 and _COMPLETE_ID.fullmatch(word):
            # Only one account and region is possible. GetMLTransforms is not called, because its permission may be
            # missing.
            return [Target(word, lanes[0])]
        errors = self._progress.errors
        found = [
            Target(transform_id, lane, name)
            for lane in lanes
            for transform_id, name in self._names_in_glue(lane, required=True).items()
            if word in (transform_id, name)
        ]
        # If the names of a lane could not be read, that error was reported already and is more useful than "no
        # transform".
        if not found and errors == self._progress.errors:
            self._progress.error(self._no_such_transform(word, lanes))
        return found

    def _lanes(self) -> list[Lane]:
        """Return the accounts and regions in which to search for a transform that is not in the configuration."""
        config = self._config
        if self._region is not None:
            return [Lane(account.name, self._region) for account in config.accounts]
        lanes = [Lane(account.name, config.region) for account in config.accounts if config.region]
        lanes += [target.lane for target in self._configured]
        lanes += [Lane(wanted.account, region) for wanted in config.discovery for region in wanted.regions]
        return list(dict.fromkeys(lanes))

    def _names_in_glue(self, lane: Lane, *, required: bool) -> dict[str, str]:
        """Return the names of the transforms of a lane by id; empty if the call failed."""
        listed = self._listed_in_glue(lane, required=required) or {}
        return {transform_id: details.name for transform_id, details in listed.items()}

    def _listed_in_glue(self, lane: Lane, *, required: bool) -> dict[str, Details] | None:
        """Return name and status of the transforms of a lane by id, read once; None if the call failed.

        The failure is reported only if the names are `required`.
        """
        if lane not in self._listed:
            self._progress.show(f"reading the names of transforms in {lane.account} {lane.region}")
            try:
                listed = self._clients.client_for(lane).transforms(page_size=self._config.polling.page_size)
            except GlueError as error:
                if required:
                    self._progress.error(f"names of transforms in {lane.account} {lane.region}: {error_text(error)}")
                self._listed[lane] = None
            else:
                self._listed[lane] = listed
        return self._listed[lane]

    def _no_such_transform(self, word: str, lanes: Sequence[Lane]) -> str:
        listed = [item for transforms in self._listed.values() for item in (transforms or {}).items()]
        known = {name for transform_id, details in listed for name in (transform_id, details.name)}
        known |= {name for target in self._configured for name in (target.id, target.name) if name}
        near = get_close_matches(word, sorted(known - {""}), n=1)
        places = ", ".join(f"{lane.account} {lane.region}" for lane in lanes)
        hint = f"did you mean {near[0]}?" if near else f"{PROGRAM} transforms shows all"
        return f"no transform {word!r} in {places or 'the configuration'}; {hint}"


def _without_filters(glue: GlueClient, page_size: int) -> list[str]:
    return glue.transform_ids({}, page_size=page_size)


def _matching_filters(wanted: DiscoverySettings, glue: GlueClient, page_size: int) -> list[str]:
    return find(wanted, glue, page_size=page_size)


def labels_of(targets: Sequence[Target]) -> dict[str, str]:
    """Return a label for each id: the name, else the id. A name that several transforms have is followed by the id.

    This id is cut in the middle, if the ids still differ.
    """
    shared = {name for name, count in Counter(target.name for target in targets).items() if name and count > 1}
    short = _short_ids([target.id for target in targets if target.name in shared])
    return {
        target.id: printable(f"{target.name} ({short[target.id]})" if target.id in short else target.name or target.id)
        for target in targets
    }


def _short_ids(ids: Sequence[str]) -> Mapping[str, str]:
    short = {one: one if len(one) <= 20 else f"{one[:8]}...{one[-6:]}" for one in ids}
    return short if len(set(short.values())) == len(short) else {one: one for one in ids}
