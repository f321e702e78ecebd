"""One test for each way in which YAML goes wrong."""

from __future__ import annotations

import pytest

from edge_agent.config.nodes import DEPTH_LIMIT, TEXT_LIMIT_BYTES
from edge_agent.config.reference import SMALLEST
from tests.config.samples import FILE, faults, read, smallest, the_fault


def at(fault) -> tuple[int, int]:
    return fault.line, fault.column


def test_an_unknown_key_names_the_nearest_known_one():
    fault = the_fault(smallest(camera="    fsp: 5\n"))
    assert fault.key == "cameras.press-3-top.fsp"
    assert at(fault) == (9, 5)
    assert fault.found == "an unknown key"
    assert fault.hint == "did you mean fps?"


def test_an_unknown_key_that_is_near_nothing_lists_the_known_ones():
    fault = the_fault(smallest(top="zzzz: 5\n"))
    assert "cameras" in fault.expected
    assert fault.hint == ""


def test_a_missing_key_is_reported_at_the_map_that_lacks_it():
    fault = the_fault(SMALLEST.replace("    source: rtsp://10.0.0.12/stream1  ", "    rotation: 0  "))
    assert fault.key == "cameras.press-3-top.source"
    assert fault.found == "nothing"
    assert at(fault) == (4, 3)


def test_a_wrong_type_says_what_was_found():
    fault = the_fault(SMALLEST.replace("fps: 10", "fps: ten"))
    assert (fault.found, fault.expected) == ('"ten"', "a number from 0.1 to 1000")
    assert at(fault) == (6, 10)


def test_a_map_where_a_word_belongs():
    fault = the_fault(SMALLEST.replace("fps: 10", "fps: {a: 1}"))
    assert fault.found == "a map"


def test_a_word_where_a_map_belongs():
    fault = the_fault(SMALLEST.replace("{enterprise: acme, plant: lyon, gateway: gw-07}", "acme"))
    assert (fault.key, fault.found, fault.expected) == ("site", '"acme"', "a map of keys")


def test_a_number_where_text_belongs_should_be_in_quotes():
    fault = the_fault(SMALLEST.replace("plant: lyon", "plant: 1.10"))
    assert (fault.found, fault.hint) == ("1.10", 'write it in quotes: "1.10"')


def test_a_number_out_of_range():
    fault = the_fault(SMALLEST.replace("fps: 10", "fps: 10000"))
    assert fault.found == "10000"


def test_infinity_is_not_a_number_here():
    assert the_fault(SMALLEST.replace("fps: 10", "fps: 1e999")).key == "cameras.press-3-top.fps"


def test_a_null_where_a_value_belongs():
    fault = the_fault(SMALLEST.replace("fps: 10", "fps:"))
    assert fault.found == "nothing"
    assert at(fault) == (6, 5)


def test_a_duplicate_key_names_the_line_of_the_first():
    fault = the_fault(smallest(camera="    fps: 5\n"))
    assert fault.found == "the same key twice"
    assert at(fault) == (9, 5)
    assert "line 6" in fault.hint


def test_a_tab():
    fault = the_fault(SMALLEST.replace("    fps: 10", "\tfps: 10"))
    assert fault.found == "a tab"
    assert fault.line == 6


@pytest.mark.parametrize("tag", ["!secrte x", "!!python/object/apply:os.system [x]", "!include other.yaml", "!!int 5"])
def test_an_unknown_tag(tag):
    fault = the_fault(SMALLEST.replace("fps: 10", f"fps: {tag}"))
    assert (fault.found, fault.expected) == ("an unknown tag", "!secret or no tag")
    assert at(fault) == (6, 10)


def test_an_alias_bomb_is_stopped():
    lines = ["version: 1", "a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    assert any("aliases that expand" in fault.found for fault in faults("\n".join(lines)))


def test_an_alias_to_itself_is_stopped():
    assert any("aliases" in fault.found for fault in faults("version: 1\nsite: &a {site: *a}\n"))


def test_an_alias_that_does_no_harm_is_allowed():
    text = smallest(camera="    threshold: &t 0.8\n  other: {source: 'synthetic:pits', threshold: *t}\n")
    assert read(text).cameras["other"].threshold == 0.8


def test_an_alias_to_nothing():
    assert "an undefined alias" in the_fault(SMALLEST.replace("fps: 10", "fps: *ten")).found


def test_a_merge_key_is_refused_with_the_way_to_share():
    fault = the_fault(smallest(camera="    <<: {fps: 3}\n"))
    assert fault.found == "a merge key"
    assert "inspection:" in fault.hint


def test_deep_nesting_is_stopped():
    assert f"more than {DEPTH_LIMIT} levels" in the_fault("a: " + "[" * 5000).found


def test_a_huge_file_is_refused_unread():
    assert "bytes" in the_fault("#" * (TEXT_LIMIT_BYTES + 1)).found


def test_an_empty_file():
    assert the_fault("").found == "an empty file"
    assert the_fault("# nothing\n").found == "an empty file"


def test_a_list_at_the_top():
    assert the_fault("- version: 1\n").expected == "a map of keys to values"


def test_two_documents():
    assert "another document" in the_fault(SMALLEST + "---\n" + SMALLEST).found


def test_a_colon_in_plain_text_hints_at_quotes_and_indentation():
    fault = the_fault("version: 1\nsite: a: b\n")
    assert "quotes" in fault.hint
    assert fault.line == 2


def test_an_open_bracket():
    assert the_fault(SMALLEST.replace("0.8]", "0.8")).expected == "valid YAML"


def test_bytes_that_are_no_text():
    from edge_agent.config.faults import InvalidConfigError
    from edge_agent.config.settings import loads

    with pytest.raises(InvalidConfigError) as caught:
        loads(b"version: 1\nsite: \xff", file=FILE)
    assert at(caught.value.faults[0]) == (2, 7)


def test_an_unprintable_character():
    assert at(the_fault("version: 1\nsite: a\x07b")) == (2, 8)


def test_an_escape_that_is_no_character():
    assert the_fault('version: "\\UFFFFFFFF"').expected == "valid YAML"


def test_a_list_as_a_key():
    assert the_fault(smallest(top="[a, b]: c\n")).found == "a list or map as a key"


class TestTrapsOfYaml11:
    @pytest.mark.parametrize("word", ["on", "no", "Yes", "off", "y"])
    def test_words_that_mean_truth_elsewhere_stay_words(self, word):
        assert read(SMALLEST.replace("plant: lyon", f"plant: {word}")).site.plant == word

    def test_such_a_word_is_explained_where_another_type_belongs(self):
        fault = the_fault(SMALLEST.replace("fps: 10", "fps: on"))
        assert (fault.found, fault.hint) == ('"on"', "YAML 1.1 reads this word as a truth value: write true or false")

    def test_base_60(self):
        fault = the_fault(smallest(mqtt="  keepalive_s: 1:30\n"))
        assert "base 60" in fault.hint

    def test_octal(self):
        fault = the_fault(smallest(mqtt="  keepalive_s: 0755\n"))
        assert "octal" in fault.hint

    def test_a_port_is_not_base_60(self):
        assert read(
            SMALLEST.replace("mqtts://broker.plant.local:8883", "mqtt://10.0.0.1:18:83".replace(":18:83", ":1883"))
        )

    def test_thousands_may_be_grouped(self):
        assert read(smallest(mqtt="  session_expiry_s: 604_800\n")).mqtt.session_expiry_s == 604_800


class TestRulesAcrossKeys:
    def test_only_streams_have_a_user(self):
        text = smallest(camera="    username: u\n    password: p\n").replace(
            "rtsp://10.0.0.12/stream1", "v4l2:/dev/v4l/x"
        )
        assert the_fault(text).key == "cameras.press-3-top.username"

    @pytest.mark.parametrize("source", ["folder:/srv/parts", "video:/srv/a.mp4", "synthetic:mixed"])
    @pytest.mark.parametrize("load", ["auto", "latest", "all"])
    def test_a_file_may_wait_or_not(self, source, load):
        text = smallest(camera=f"    load: {load}\n").replace("rtsp://10.0.0.12/stream1", source)
        assert read(text).cameras["press-3-top"].load == load

    @pytest.mark.parametrize(
        ("lines", "key", "expected"),
        [
            ("    threshold: 0.3\n    hold_below: 0.5\n", "hold_below", "at most threshold (0.3)"),
            ("    n_of_m: [3, 2]\n", "n_of_m", "1 <= n <= m"),
            ("    n_of_m: [1]\n", "n_of_m", "1 <= n <= m"),
            ("    models: [surface]\n", "models", "none that is `model`"),
            ("    models: [lines, lines]\n", "models", "none twice"),
            ("    models: [a, b, c, d, e, f, g, h]\n", "models", "up to 7"),
            ("    recipes: {A12: Lid!}\n", "recipes.A12", "a-z, 0-9 and -"),
            ('    recipes: {"": lid}\n', "recipes.", "1 to 64 characters"),
            ("    recipes: [lid]\n", "recipes", "a map from up to 256 recipes"),
            ("    password: x\n", "password", "username beside it"),
            ("    load: all\n", "load", "auto or latest"),
            ("    every_nth: 0\n", "every_nth", "1"),
            ("    mask: [[0.5, 0.5, 0.6, 0.1]]\n", "mask.0", "inside the frame"),
            ("    mask: [[[0, 0], [1, 1], [0.5, 0.5]]]\n", "mask.0", "encloses an area"),
            ("    mask: [[[0, 0], [1, 1], [0.5, 20]]]\n", "mask.0", "inside the frame"),
            ("    mask: [[0.1, 0.1, 0, 0.1]]\n", "mask.0", "sides of at least"),
            ("    mask: [[0.1]]\n", "mask.0", "in fractions of the frame"),
        ],
    )
    def test_a_camera(self, lines, key, expected):
        fault = the_fault(smallest(camera=lines))
        assert fault.key == f"cameras.press-3-top.{key}"
        assert expected in fault.expected

    @pytest.mark.parametrize(
        ("lines", "key"),
        [
            ("  cert_file: a.pem\n", "mqtt.key_file"),
            ("  key_file: a.pem\n", "mqtt.key_file"),
            ("  root: a/b/c/d\n", "mqtt.root"),
            ("  root: a/#\n", "mqtt.root"),
        ],
    )
    def test_the_broker(self, lines, key):
        assert the_fault(smallest(mqtt=lines)).key == key

    @pytest.mark.parametrize(
        "url",
        [
            "http://b",
            "b:1883",
            "mqtt://",
            "mqtt://b:99999",
            "mqtt://b:0",
            "mqtt://b/path",
            "mqtt://u:p@b",
            "mqtt://b b",
        ],
    )
    def test_an_address_that_is_no_broker(self, url):
        assert the_fault(SMALLEST.replace("mqtts://broker.plant.local:8883", url)).key == "mqtt.url"

    @pytest.mark.parametrize("url", ["mqtt://b", "mqtts://[::1]:8883", "wss://b:443/mqtt", "ws://10.0.0.1:9001"])
    def test_an_address_that_is_one(self, url):
        assert read(SMALLEST.replace("mqtts://broker.plant.local:8883", url)).mqtt.url == url

    def test_pixels_as_region_are_explained(self):
        fault = the_fault(SMALLEST.replace("[0.1, 0.1, 0.8, 0.8]", "[10, 10, 800, 800]"))
        assert fault.hint == "values are fractions, not pixels"

    def test_a_polygon_is_a_region(self):
        text = SMALLEST.replace("[0.1, 0.1, 0.8, 0.8]", "[[0, 0], [1, 0], [0.5, 1]]")
        assert read(text).cameras["press-3-top"].roi == ((0, 0), (1, 0), (0.5, 1))

    @pytest.mark.parametrize("name", ["Press", "press_3", "a/b", "x" * 33, "'#'"])
    def test_a_name_of_a_camera_that_topics_cannot_carry(self, name):
        fault = the_fault(SMALLEST.replace("press-3-top", name))
        assert fault.expected == "a name of 1 to 32 of a-z, 0-9 and -"
        assert fault.line == 4

    def test_no_camera_at_all(self):
        text = "version: 1\nsite: {enterprise: a, plant: b, gateway: c}\ncameras: {}\nmqtt: {url: mqtt://b}\n"
        fault = the_fault(text)
        assert fault.key == "cameras"
        assert fault.expected == "a map of 1 to 64 cameras"
