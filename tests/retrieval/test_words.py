"""What BM25 counts as words: known answers in scripts without spaces, and everything else as it always was."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsmith.retrieval import Bm25Index
from recsmith.retrieval.words import words_of

KNOWN = {
    "千と千尋の神隠し": "千と と千 千尋 尋の の神 神隠 隠し",
    "ジョン・レノン": "ジョ ョン レノ ノン",
    "ｶﾞﾝﾀﾞﾑ": "ガン ンダ ダム",
    "か\u3099くせい": "がく くせ せい",
    "卧虎藏龙": "卧虎 虎藏 藏龙",
    "基生蟲、鳳俊昊": "基生 生蟲 鳳俊 俊昊",
    "기생충 봉준호": "기생 생충 봉준 준호",
    "ฟ้าทะลายโจร": "ฟ้ ้า าท ทะ ะล ลา าย ยโ โจ จร",
    "พ.ศ. ๒๕๖๗": "พ ศ ๒๕๖๗",
    "猫": "猫",
    "Nintendo Switch 有機ELモデル": "nintendo switch 有機 el モデ デル",
    "iPhone15ケース STRASSE": "iphone15 ケー ース strasse",
    "": "",
}


@pytest.mark.parametrize("text", KNOWN)
def test_scripts_without_spaces_give_pairs_of_characters(text: str) -> None:
    assert words_of(text) == KNOWN[text].split()


spaced = st.text(st.characters(max_codepoint=0x0DFF, exclude_categories=["Cs"]))


@given(spaced)
def test_scripts_with_spaces_are_cut_as_ever(text: str) -> None:
    assert words_of(text) == re.findall(r"\w+", text.casefold())


@given(spaced, spaced)
def test_a_title_in_another_script_changes_no_word_beside_it(before: str, after: str) -> None:
    assert words_of(f"{before} 千尋 {after}") == [*words_of(before), "千尋", *words_of(after)]


FILMS = ["千と千尋の神隠し", "となりのトトロ", "卧虎藏龙 Crouching Tiger", "기생충", "ฟ้าทะลายโจร", "Spirited Away"]
FOUND = {"千尋": 0, "トトロ": 1, "藏龙": 2, "tiger": 2, "생충": 3, "ทะลาย": 4, "away": 5}


@pytest.mark.parametrize("query", FOUND)
def test_a_part_of_a_title_finds_it(query: str) -> None:
    index = Bm25Index()
    index.add(range(len(FILMS)), FILMS)
    assert index.search([query], 2).items.tolist() == [[FOUND[query], -1]]
