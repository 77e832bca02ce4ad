"""Whatever text a run holds, its profile shows it as text and stays the page it is."""

import dataclasses

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fusiondelta.account._page_html import escape, visible
from fusiondelta.account._profile import QueryProfile
from tests.harness import accounts, pages
from tests.harness.hostile_accounts import HOSTILE, hostile
from tests.harness.pages import broken

pytestmark = pytest.mark.property

#: Lone surrogates and unassigned letters too, and often what markup is made of.
letters = st.characters(exclude_categories=[]) | st.sampled_from(
    "<>&\"'`=/!-[]\\\r\n\x00\u2028\u202e"
)
texts = st.text(letters, min_size=1, max_size=40) | st.sampled_from(HOSTILE)


@given(texts)
def test_escaped_text_is_read_as_it_was_shown(text):
    page = f'<!DOCTYPE html><html><p title="{escape(text)}">{escape(text)}</p></html>'
    (paragraph,) = pages.read(page).children
    assert paragraph.text == paragraph.attributes["title"] == visible(text)
    escape(text).encode()


@given(texts)
def test_what_is_shown_can_be_seen(text):
    turned = {
        "\u2028",
        "\u2029",
        *map(chr, range(0x202A, 0x202F)),
        *map(chr, range(0x2066, 0x206A)),
    }
    assert not turned & set(visible(text))
    assert all(one.isprintable() or one in "\n\t" for one in visible(text) if one.isascii())


@settings(max_examples=25)
@given(texts, st.sampled_from(["after", "before", "instead"]))
@example("", "instead")
def test_any_text_in_every_field(text, place):
    run = hostile(text, place)
    assert broken(QueryProfile(run).to_html()) == []
    comparison = QueryProfile(accounts.tiny()).compare(QueryProfile(run))
    assert broken(comparison.to_html()) == []


@settings(max_examples=25)
@given(texts)
def test_text_comes_back_from_where_it_was_put(text):
    run = dataclasses.replace(
        accounts.tiny(),
        sql=text,
        tenant=text,
        tags={text: text},
        parameters={text: text},
        error={"class": text, "kind": text, "message": text},
        versions={text: text},
    )
    page = pages.read(QueryProfile(run).to_html())
    shown = visible(text)
    assert page.one("section", place="sql").one("pre").text == shown
    assert page.one("section", place="error").one("pre").text == shown
    assert [shown, shown] in page.one("section", place="environment").cells()
    facts = [[one.text for one in row.children] for row in page.one("header").one("dl").children]
    assert ["Tenant", shown] in facts
    assert [f"Tag {shown}", shown] in facts
