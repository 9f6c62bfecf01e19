from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.config.problems import ConfigError
from exporter.config.schema import Account
from exporter.config.settings import Config, load_config, masked_yaml, read_config
from exporter.model.redaction import MASK

DATA = Path(__file__).parent / "data"


def load(text: str, **environ: str) -> Config:
    return load_config(text, source="config.yaml", environ=environ)


def refusal(text: str, **environ: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(text, **environ)
    return str(caught.value).splitlines()


def outcome_of(text: str) -> Config | ConfigError:
    try:
        return load(text)
    except ConfigError as error:
        return error


def load_case(case: str, **environ: str) -> Config:
    return load((DATA / f"{case}.ok.yaml").read_text(encoding="utf-8"), **environ)


def test_smallest_file() -> None:
    """A file with a region and an id is complete. The account is the default account with ambient credentials."""
    config = load_case("smallest")
    assert config.accounts == (Account(name="default"),)
    (transform,) = config.transforms
    assert (transform.region, transform.account, transform.labels) == ("eu-west-1", "default", {})
    assert config.polling.interval == 60
    assert config.metrics.execution_buckets[0] == 30


def test_region_from_the_environment() -> None:
    """A region in the file has precedence over AWS_REGION, and AWS_REGION over AWS_DEFAULT_REGION."""
    text = "transforms: [tfm-1]"
    both = {"AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "us-east-1"}
    assert load(text, **both).region == "eu-west-1"
    assert load(text, AWS_DEFAULT_REGION="us-east-1").transforms[0].region == "us-east-1"
    assert load(f"region: eu-north-1\n{text}", **both).region == "eu-north-1"


def test_bad_region_in_the_environment() -> None:
    """A region in the environment is checked like a region in the file."""
    expected = "the region in the environment is not an AWS region; expected e.g. eu-west-1"
    assert refusal("transforms: [tfm-1]", AWS_REGION="here") == [f"config.yaml:1:1: region: {expected}"]


def test_discovery_defaults() -> None:
    """By default, discovery searches the default region of the only account every 10 minutes."""
    (discovery,) = load_case("discovery_alone").discovery
    assert (discovery.account, discovery.regions, discovery.interval) == ("default", ("eu-west-1",), 600)
    assert discovery.tags == {"monitor": "true"}


def test_the_only_account_is_the_default() -> None:
    """If the file has only one account, transforms and discovery use it by default."""
    config = load_case("the_only_account")
    assert config.transforms[0].account == "prod"
    assert config.discovery[0].account == "prod"


def test_scalars_are_read_as_written() -> None:
    """Ids, names and label values keep the text of the file, even if YAML would convert them to another type."""
    (transform,) = load_case("scalars_as_written").transforms
    assert (transform.id, transform.name) == ("tfm-0042", "no")
    assert transform.labels == {"team": "007", "on": "yes", "version": "1.10", "when": "2026-11-23"}


def test_an_empty_label_is_left_out() -> None:
    """A label without a value, or with an empty text, has the same effect as a missing label."""
    (transform,) = load_case("label_value_missing").transforms
    assert transform.labels == {"tier": "1"}


def test_merge_keys_and_anchors() -> None:
    """A merge key adds the keys that the mapping lacks, and top-level keys that begin with x- only contain anchors."""
    one, two = load_case("merge_keys_and_anchors").transforms
    assert (one.region, one.expected_interval, one.labels) == ("us-east-1", 86400, {"team": "data"})
    assert (two.region, two.expected_duration, two.labels) == ("us-east-1", 8 * 3600, {"team": "other"})


def test_empty_values_are_defaults() -> None:
    """A key without a value has the same effect as a missing key."""
    assert load_case("empty_values_are_defaults") == load("region: eu-west-1\ntransforms: [tfm-1]")


def test_variables_with_their_defaults() -> None:
    """In fields of every kind, an unset variable gives its default, `$$` gives a dollar, and `$HOME` is plain text."""
    config = load_case("variables", REGION="eu-west-1", PAGE_SIZE="10")
    (transform,) = config.transforms
    assert (transform.id, transform.name, transform.labels) == ("tfm-default", "costs $5 and $HOME", {"team": "data-x"})
    assert (config.endpoint_url, config.web.status_page) == (None, False)
    polling = config.polling
    assert (polling.interval, polling.page_size, polling.requests_per_second) == (90, 10, 2.5)


def test_variables_that_are_set() -> None:
    """A variable that is set has precedence over the default. An empty variable counts as unset, as in a shell."""
    environ = {"REGION": "eu-west-1", "PAGE_SIZE": "10", "TEAM": "", "INTERVAL": "1m", "ENDPOINT": "http://[::1]:8000/"}
    config = load_case("variables", **environ)
    assert config.transforms[0].labels == {"team": "data-x"}
    assert config.polling.interval == 60
    assert config.endpoint_url == "http://[::1]:8000/"


def test_a_variable_is_expanded_once() -> None:
    """The value of a variable is not expanded again."""
    config = load("region: eu-west-1\ntransforms: [{id: tfm-1, name: '${A}'}]", A="${B} $$ # x")
    assert config.transforms[0].name == "${B} $$ # x"
    assert load(masked_yaml(config)) == config


def test_all_mistakes_at_once() -> None:
    """Mistakes in YAML, keys and values are reported together, in the order of the file."""
    lines = refusal("""\
regoin: eu-west-1
accounts:
  - {name: a, role_arn: nope}
  - {name: b, external_id: abc}
polling:
  interval: 5 minutes
  page_size: ${UNSET}
  page_size: 3
  overlap: 40d
transforms:
  - {id: tfm-1, region: eu-west-1, account: a, labels: {le-: x}}
  - {id: tfm-1, region: eu-west-1, account: b}
  - tfm-3
  - []
""")
    assert [line.split(": ")[0] for line in lines] == [
        "config.yaml:1:1",
        "config.yaml:1:1",
        "config.yaml:3:25",
        "config.yaml:4:28",
        "config.yaml:6:13",
        "config.yaml:7:14",
        "config.yaml:8:3",
        "config.yaml:9:12",
        "config.yaml:11:57",
        "config.yaml:12:10",
        "config.yaml:13:5",
        "config.yaml:14:5",
    ]
    assert "regoin: unknown key; did you mean region?" in lines[0]
    assert 'transforms[1].id: "tfm-1" is already given at transforms[0].id' in lines[9]


def test_no_mistakes_that_follow_from_others() -> None:
    """A mistake that is only a consequence of another mistake is not reported."""
    assert refusal("region: eu-west-1\naccounts: [{nam: a}]\ntransforms: [{id: tfm-1, account: a}]") == [
        "config.yaml:2:12: accounts[0].name: is required",
        "config.yaml:2:13: accounts[0].nam: unknown key; did you mean name?",
    ]
    assert refusal("region: Eire\ntransforms: [tfm-1]") == [
        'config.yaml:1:9: region: "Eire" is not an AWS region; expected e.g. eu-west-1'
    ]
    assert len(refusal("region: eu-west-1\ntransforms: [tfm-1]\npolling: {overlap: 40d, lookback: long}")) == 1


def test_a_variable_missing_in_two_places() -> None:
    """A value that is used twice through an anchor is reported once."""
    text = "region: eu-west-1\ntransforms: [{id: tfm-a, labels: &x {t: '${NO}'}}, {id: tfm-b, labels: *x}]"
    assert len(refusal(text)) == 1


@pytest.mark.parametrize(
    "text", ["[" * 5_000, 'a: "\\UFFFFFFFF"', "a: *b", "a: 'x", "%YAML 9.9\n---\na: b", "a: \ud800"]
)
def test_broken_yaml_is_one_line(text: str) -> None:
    """A syntax error of YAML gives one line."""
    (line,) = refusal(text)
    assert line.startswith("config.yaml:")


@pytest.mark.parametrize("depth", [1, 5, 9, 100, 350, 400, 1000])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ("{a: ", "}")], ids=["lists", "mappings"])
def test_deep_nesting_is_an_error(depth: int, opening: str, closing: str) -> None:
    """Deep nesting is an error and does not exhaust the stack."""
    assert refusal(f"region: eu-west-1\ntransforms: [tfm-1]\nweb: {opening * depth}{closing * depth}")


def test_aliases_do_not_multiply_the_work() -> None:
    """Each anchor is read only once, even if aliases refer to lists of aliases over many levels."""
    levels = [f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 9)}]" for i in range(1, 30)]
    text = "\n".join(["l0: &l0 [x]", *levels, "region: eu-west-1", "transforms: *l29"])
    assert len(refusal(text)) < 50


def test_external_id_is_never_shown() -> None:
    """The configuration page, the repr and the messages never show the external id."""
    text = (DATA / "accounts_of_every_kind.ok.yaml").read_text(encoding="utf-8").replace("0123}", "s3cr3t-1d}")
    config = load(text)
    assert config.accounts[1].external_id == "s3cr3t-1d"
    assert "s3cr3t-1d" not in masked_yaml(config) + repr(config)
    assert "<secret>" in masked_yaml(config)
    broken = text.replace("s3cr3t-1d", '"s3cr3t 1d"')
    with pytest.raises(ConfigError) as caught:
        load(broken)
    assert caught.value.__context__ is None
    assert "s3cr3t" not in str(caught.value)


def test_expanded_values_are_never_shown() -> None:
    """A message contains the name of a variable, but not its value."""
    (line,) = refusal("region: eu-west-1\ntransforms: [tfm-1]\npolling: {interval: '${TOKEN}'}", TOKEN="hunter2")
    assert 'the value of "${TOKEN}" is not a duration' in line
    assert "hunter2" not in line


def test_hostile_text_stays_on_its_line() -> None:
    """Control characters in keys and values cannot split a message or reverse its direction."""
    hostile = '"a\\nconfig.yaml:1:1: forged\\u202e"'
    lines = refusal(f"region: {hostile}\n{hostile}: 1\ntransforms: [tfm-1]")
    assert len(lines) == 2
    assert all(line.isprintable() for line in lines)


def test_read_config(tmp_path: Path) -> None:
    """A file is read as UTF-8. A missing file, a directory and a file that is not UTF-8 are configuration errors."""
    path = tmp_path / "c.yaml"
    path.write_text("region: eu-west-1\ntransforms: [{id: tfm-1, name: Müller}]", encoding="utf-8")
    assert read_config(path, environ={}).transforms[0].name == "Müller"
    path.write_bytes(b"region: \xff")
    with pytest.raises(ConfigError, match=r"c.yaml: is not UTF-8 at byte 8$"):
        read_config(path, environ={})
    with pytest.raises(ConfigError, match=r"no.yaml: cannot be read: No such file or directory$"):
        read_config(tmp_path / "no.yaml", environ={})
    with pytest.raises(ConfigError, match=r": cannot be read: Is a directory$"):
        read_config(tmp_path, environ={})


KEYS = ["region:", "transforms:", "polling:", "accounts:", "id:", "name:", "labels:", "external_id:", "interval:"]
VALUES = ["eu-west-1", "tfm-1", "60s", "${A}", "${", "<<", "~", "&a", "*a", "!t", "'", '"']
SIGNS = [" ", "  ", "\n", "- ", "[", "]", "{", "}", ",", ": ", "#", "---\n"]
WORDS = st.sampled_from([*KEYS, *VALUES, *SIGNS, "<<: ", "x-a: &x ", "*x"])


@settings(max_examples=300, deadline=None)
@given(st.lists(WORDS, max_size=25).map("".join) | st.text(max_size=40))
def test_any_text_is_a_configuration_or_an_error(text: str) -> None:
    """Every text gives a configuration or an error with printable lines."""
    outcome = outcome_of(text)
    if isinstance(outcome, Config):
        assert load(masked_yaml(outcome)) == outcome
    else:
        assert all(line.isprintable() for line in str(outcome).split("\n"))


def trees(depth: int = 3) -> st.SearchStrategy[str]:
    """Generate YAML texts with the keys of the schema and values that are right, wrong or in the wrong place."""
    keys = st.sampled_from(
        ["region", "accounts", "transforms", "discovery", "polling", "metrics", "web", "state", "id"]
    )
    more = st.sampled_from(["name", "account", "labels", "regions", "interval", "overlap", "execution_buckets", "nope"])
    leaf = st.sampled_from(["eu-west-1", "a", "60s", "0", "~", '""', "'${A:-x}'", "'${NO}'", "true", "1"])
    if not depth:
        return leaf
    inner = trees(depth - 1)
    mapping = st.lists(st.tuples(keys | more, inner), max_size=5).map(
        lambda pairs: "{" + ", ".join(f"{key}: {value}" for key, value in pairs) + "}"
    )
    return leaf | mapping | st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]")


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(trees())
def test_any_shape_is_a_configuration_or_an_error(text: str) -> None:
    """Correct keys with wrong values, in any combination, give a `ConfigError` and no other exception."""
    assert isinstance(outcome_of(text), Config | ConfigError)


@pytest.mark.slow
@settings(deadline=None)
@given(
    st.dictionaries(
        st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True).map(lambda name: f"l_{name}"),
        st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1, max_size=20),
        max_size=4,
    ),
    st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1, max_size=20),
)
def test_effective_configuration_round_trips(labels: dict[str, str], transform_name: str) -> None:
    """The page with the effective configuration can be loaded again, even if values have dollars, quotes or numbers."""
    base = load("region: eu-west-1\ntransforms: [{id: tfm-1, name: '${NAME}'}]", NAME=transform_name)
    entries = "".join(f"      {key}: '${{{key.upper()}}}'\n" for key in labels)
    text = f"region: eu-west-1\ntransforms:\n  - id: tfm-1\n    name: '${{NAME}}'\n    labels:\n{entries}"
    config = load(text, NAME=transform_name, **{key.upper(): value for key, value in labels.items()})
    assert config.transforms[0].labels == labels
    assert load(masked_yaml(config)) == config
    assert load(masked_yaml(base)) == base


SECRET = "s3cr3t-value-of-a-variable"
KEYS = [
    "region: '${S}'\ntransforms: [tfm-1]",
    "region: eu-west-1\nendpoint_url: '${S}'\ntransforms: [tfm-1]",
    "region: eu-west-1\nendpoint_url: 'http://u:${S}@x'\ntransforms: [tfm-1]",
    "region: eu-west-1\ntransforms: ['${S}', '${S}']",
    "region: eu-west-1\ntransforms: ['x-${S}', '${S}${S}${S}${S}', 'x-${S}', '${S}${S}${S}${S}']",
    "region: eu-west-1\ntransforms: [{id: tfm-a, account: '${S}'}]\naccounts: [{name: x}]",
    "region: eu-west-1\ntransforms: [{id: tfm-a, account: b}]\naccounts: [{name: '${S}'}, {name: '${S}'}]",
    "region: eu-west-1\ntransforms: [tfm-a]\naccounts: [{name: x, role_arn: '${S}'}]",
    "region: eu-west-1\ntransforms: [tfm-a]\naccounts: [{name: x, external_id: '${S}!'}]",
    "region: eu-west-1\ntransforms: [{id: tfm-a, labels: '${S}'}]",
    "region: eu-west-1\ndiscovery: [{regions: ['${S}'], interval: '${S}'}]",
    "region: eu-west-1\ndiscovery: [{labels_from_tags: ['${S}', '${S}', '${S}!', '${S}?']}]",
    "region: eu-west-1\ntransforms: [tfm-1]\npolling: {interval: '${S}', page_size: '${S}', overlap: '${S}'}",
    "region: eu-west-1\ntransforms: [tfm-a]\nmetrics: {drop: ['${S}'], drop_statuses: ['${S}'], max_series: '${S}'}",
    "region: eu-west-1\ntransforms: [tfm-a]\nweb: '${S}'\nstate: ['${S}']\ntransform_details: '${S}'",
]


@pytest.mark.parametrize("text", KEYS)
def test_a_message_shows_a_variable_and_not_its_value(text: str) -> None:
    """Wherever a value with `${NAME}` is refused, the message quotes it as it is in the file."""
    lines = refusal(text, S=SECRET)
    assert not [line for line in lines if "s3cr3t" in line]
    assert any("${S}" in line or MASK in line or "mapping" in line for line in lines)


def test_a_password_in_a_url_is_masked_up_to_the_last_at_sign() -> None:
    """A password with `/` and `#` in an endpoint does not reach the message."""
    (line,) = refusal("region: eu-west-1\nendpoint_url: 'http://u:p/a#ss@w@host'\ntransforms: [tfm-a]")
    assert f"http://{MASK}@host" in line
    assert "p/a#ss" not in line
