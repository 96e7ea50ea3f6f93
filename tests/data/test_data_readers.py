"""Every reader on a slice that the test writes itself."""

import gzip
import json
import zipfile

import polars as pl
import pytest

from recsmith.data import READERS, Dataset, Reader, parse_columns
from recsmith.data.readers import detect, reader_named
from recsmith.errors import DataError, UserError


def write(path, text, *, encoding="utf-8"):
    path.parent.mkdir(parents=True, exist_ok=True)
    content = text.encode(encoding)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def lines(records):
    return "".join(json.dumps(record) + "\n" for record in records)


@pytest.mark.parametrize("name", READERS.names())
def test_every_reader_satisfies_the_protocol(name, tmp_path):
    reader = reader_named(name)
    assert isinstance(reader, Reader)
    assert len(reader.form) > 5
    assert not reader.matches(tmp_path)
    assert not reader.matches(write(tmp_path / "notes.md", "# nothing"))


# ---- delimited ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "separator"),
    [("log.csv", ","), ("log.csv.gz", ","), ("log.tsv", "\t"), ("log.txt", ";"), ("log.dat.gz", "|")],
)
def test_delimited_text(tmp_path, name, separator):
    rows = [["userId", "sku", "ts", "note"], ["7", "007", "12", "x"], ["8", "12", "13", ""]]
    path = write(tmp_path / name, "\n".join(separator.join(row) for row in rows) + "\n")
    data = Dataset.from_path(path)
    assert data.interactions.rows() == [(7, "007", 12, "x"), (8, "12", 13, None)]  # `007` is no number
    assert data.source["reader"] == "csv"
    assert data.name == "log"


def test_column_mapping(tmp_path):
    path = write(tmp_path / "log.csv", "customer_no,sku,ts,kind\na,1,5,buy\nb,2,6,view\n")
    data = Dataset.from_csv(path, columns=parse_columns("user=customer_no,item=sku,time=ts,event=kind"))
    assert data.interactions.columns == ["user_id", "item_id", "timestamp", "event_type"]


def test_quotes_and_byte_order_mark(tmp_path):
    path = write(tmp_path / "log.csv", '\ufeffuser,item\n"a, b","say ""hi"""\nc,d\n')
    assert Dataset.from_path(path).interactions.rows() == [("a, b", 'say "hi"'), ("c", "d")]


def test_files_without_a_header_get_numbered_columns(tmp_path):
    path = write(tmp_path / "log.csv", "1,10,5\n2,20,6\n")
    data = Dataset.from_path(path, columns={"user": "column_1", "item": "column_2"})
    assert data.interactions.rows() == [(1, 10, 5), (2, 20, 6)]
    with pytest.raises(DataError, match="no column that is known to hold the user; it has `column_1`, `column_2`, `column_3`"):
        Dataset.from_path(path)


def test_a_catalogue_may_be_given_as_a_file(tmp_path):
    log = write(tmp_path / "a.csv", "user,item\n1,x1\n2,x2\n")
    items = write(tmp_path / "b.tsv", "sku\ttitle\nx1\tOne\nx2\tTwo\n")
    assert Dataset.from_csv(log, catalogue=items).catalogue.frame["title"].to_list() == ["One", "Two"]


# ---- typed files -------------------------------------------------------------------------------------------------------------


def test_parquet(tmp_path):
    pl.DataFrame({"uid": [1, 2], "item": ["1", "2"]}).write_parquet(tmp_path / "log.parquet")
    data = Dataset.from_path(tmp_path / "log.parquet")
    assert data.interactions.schema == {"user_id": pl.Int64, "item_id": pl.String}
    assert Dataset.from_parquet(tmp_path / "log.parquet").hash == data.hash


@pytest.mark.parametrize("name", ["log.jsonl", "log.ndjson.gz"])
def test_json_lines(tmp_path, name):
    path = write(tmp_path / name, lines([{"user": "a", "item": 1, "rating": 3}, {"user": "b", "item": 2, "rating": 4.5}]))
    assert Dataset.from_path(path).interactions.rows() == [("a", 1, 3.0), ("b", 2, 4.5)]
    assert Dataset.from_jsonl(path).source["reader"] == "jsonl"


# ---- folders of anybody --------------------------------------------------------------------------------------------------------


def test_folder_of_tables(tmp_path):
    write(tmp_path / "shop" / "events.csv", "customer_no,sku\n1,a\n2,b\n")
    write(tmp_path / "shop" / "products.jsonl", lines([{"sku": "a", "title": "An apple"}, {"sku": "b", "title": "A bee"}]))
    write(tmp_path / "shop" / "customers.tsv", "customer_no\tage\n1\t30\n2\t40\n")
    write(tmp_path / "shop" / "reviews.csv", "customer_no,sku,text\n1,a,good\n")
    data = Dataset.from_path(tmp_path / "shop", columns={"user": "customer_no", "item": "sku"})
    assert data.source["reader"] == "folder"
    assert data.catalogue.frame["title"].to_list() == ["An apple", "A bee"]
    assert data.users.columns == ["user_id", "age"]
    assert data.reviews.rows() == [(1, "a", "good")]


def test_folder_with_names_of_its_own(tmp_path):
    write(tmp_path / "interactions.csv", "user,item\n1,5\n2,6\n")
    write(tmp_path / "items.csv", "id,name\n5,Five\n6,Six\n")
    write(tmp_path / "users.csv", "id,city\n1,Rome\n2,Oslo\n")
    data = Dataset.from_path(tmp_path)
    assert data.catalogue.titles(pl.Series([6])).to_list() == ["Six"]
    assert data.users.rows() == [(1, "Rome"), (2, "Oslo")]


# ---- RecBole -----------------------------------------------------------------------------------------------------------------


def test_recbole_atomic_files(tmp_path):
    write(tmp_path / "mini.inter", "user_id:token\titem_id:token\trating:float\ttimestamp:float\n1\ta1\t4\t100\n2\ta2\t3\t200\n")
    write(
        tmp_path / "mini.item",
        "item_id:token\tmovie_title:token_seq\tclass:token_seq\tprices:float_seq\na1\tToy Story\tcomic kids\t1 2.5\na2\tHeat\t\t\n",
    )
    write(tmp_path / "mini.user", "user_id:token\tage:float\n1\t24\n2\t30\n")
    data = Dataset.from_path(tmp_path)
    assert data.name == "mini"
    assert data.source["reader"] == "recbole"
    assert data.interactions.rows() == [(1, "a1", 100.0, 4.0), (2, "a2", 200.0, 3.0)]
    assert data.catalogue.kinds == {"movie_title": "text", "class": "list", "prices": "list"}
    assert data.catalogue.texts(pl.Series(["a1"])) == ["Toy Story. comic, kids"]
    assert data.catalogue.frame["prices"][0].to_list() == [1, 2.5]
    assert data.users.rows() == [(1, 24), (2, 30)]
    assert Dataset.from_path(tmp_path / "mini.inter").hash == data.hash


def test_recbole_parts_are_joined_in_order(tmp_path):
    for part, user in (("test", 3), ("train", 1), ("valid", 2)):
        write(tmp_path / f"mini.{part}.inter", f"user_id:token\titem_id:token\n{user}\t9\n")
    assert Dataset.from_path(tmp_path).interactions["user_id"].to_list() == [1, 2, 3]


def test_recbole_mistakes(tmp_path):
    path = write(tmp_path / "a.inter", "user_id:token\titem_id:tokens\n1\t2\n")
    with pytest.raises(
        DataError, match="column `item_id:tokens`: the header must end in a type, as in `user_id:token`; did you mean `token`"
    ):
        Dataset.from_path(path)
    write(tmp_path / "b.inter", "user_id:token\titem_id:token\trating:float\n1\t2\tbad\n")
    with pytest.raises(DataError, match=r"b.inter`, row 1, column `rating:float`: 'bad' is not a number"):
        Dataset.from_path(tmp_path / "b.inter")
    with pytest.raises(DataError, match="holds several data sets"):
        Dataset.from_path(tmp_path)


# ---- MovieLens -----------------------------------------------------------------------------------------------------------------


def test_movielens_csv(tmp_path):
    write(tmp_path / "ratings.csv.gz", "userId,movieId,rating,timestamp\n1,1,4.0,964982703\n2,2,3.5,964981247\n")
    write(tmp_path / "movies.csv.gz", 'movieId,title,genres\n1,Toy Story (1995),Animation|Comedy\n2,"Film, A",(no genres listed)\n')
    write(tmp_path / "tags.csv", "userId,movieId,tag,timestamp\n1,1,fun,1\n2,1,Fun,2\n2,1,pixar,3\n")
    data = Dataset.from_path(tmp_path)
    assert data.source["reader"] == "movielens"
    assert data.interactions.rows() == [(1, 1, 964982703, 4.0), (2, 2, 964981247, 3.5)]
    assert data.catalogue.frame.rows() == [
        (1, "Toy Story", ["Animation", "Comedy"], 1995, ["fun", "pixar"]),
        (2, "Film, A", [], None, None),
    ]
    assert data.catalogue.kinds == {"title": "text", "genres": "list", "year": "number", "tags": "list"}


def test_movielens_100k(tmp_path):
    write(tmp_path / "u.data", "196\t242\t3\t881250949\n186\t302\t3\t891717742\n")
    flags = ["0"] * 19
    flags[5] = flags[14] = "1"
    write(tmp_path / "u.item", f"242|Misérables, Les (1995)|24-Jan-1997||http://x|{'|'.join(flags)}\n", encoding="latin-1")
    write(tmp_path / "u.user", "196|49|M|writer|55105\n186|39|F|executive|00000\n")
    data = Dataset.from_path(tmp_path)
    assert data.interactions.rows() == [(196, 242, 881250949, 3.0), (186, 302, 891717742, 3.0)]
    assert data.catalogue.frame.rows() == [(242, "Misérables, Les", ["Comedy", "Romance"], 1995, "24-Jan-1997")]
    assert data.users.rows() == [(196, 49, "M", "writer", "55105"), (186, 39, "F", "executive", "00000")]


def test_movielens_1m(tmp_path):
    write(tmp_path / "ratings.dat", "1::1193::5::978300760\n2::661::3::978302109\n")
    write(tmp_path / "movies.dat", "661::Dérive: Part 2 (1996)::Animation|Musical\n1193::Plain::Drama\n", encoding="latin-1")
    write(tmp_path / "users.dat", "1::F::1::10::48067\n2::M::56::16::70072\n")
    data = Dataset.from_path(tmp_path)
    assert data.interactions.rows() == [(1, 1193, 978300760, 5.0), (2, 661, 978302109, 3.0)]
    assert data.catalogue.frame.rows() == [(661, "Dérive: Part 2", ["Animation", "Musical"], 1996), (1193, "Plain", ["Drama"], None)]
    assert data.users.rows() == [(1, "F", 1, 10, "48067"), (2, "M", 56, 16, "70072")]


# ---- Amazon ------------------------------------------------------------------------------------------------------------------

OLD = [
    {
        "reviewerID": "A1",
        "asin": "0001",
        "helpful": [0, 1],
        "reviewText": "Good.",
        "overall": 5.0,
        "summary": "ok",
        "unixReviewTime": 1393545600,
    },
    {"reviewerID": "A2", "asin": "B2", "reviewText": "", "overall": 1.0, "summary": "", "unixReviewTime": 1393545601},
]


def test_amazon_2014(tmp_path):
    write(tmp_path / "reviews_Beauty_5.json.gz", lines(OLD))
    write(
        tmp_path / "meta_Beauty.json.gz",
        "{'asin': '0001', 'title': 'It\\'s soap', 'price': 2.5, 'categories': [['Bath', 'Soap'], ['Bath']]}\n{'asin': 'B2'}\n",
    )
    data = Dataset.from_path(tmp_path)
    assert data.name == "Beauty"
    assert data.interactions.rows() == [("A1", "0001", 1393545600, 5.0), ("A2", "B2", 1393545601, 1.0)]
    assert data.reviews.select("user_id", "item_id", "text", "summary").rows() == [("A1", "0001", "Good.", "ok")]
    assert data.catalogue.frame.row(0, named=True) == {
        "item_id": "0001", "title": "It's soap", "brand": None, "categories": ["Bath", "Soap"],
        "description": None, "features": None, "price": 2.5,
    }  # fmt: skip


def test_amazon_2018(tmp_path):
    path = write(tmp_path / "Gift_Cards.json", lines([{**record, "verified": True, "vote": "3", "style": {"a": "b"}} for record in OLD]))
    meta = {"asin": "0001", "title": "Card", "category": ["Gift"], "description": ["one", "two"], "price": "$1,299.00", "feature": ["f"]}
    write(tmp_path / "meta_Gift_Cards.json", lines([meta, {**meta, "title": "Again"}, {"asin": "B2", "title": "", "price": "$1 - $2"}]))
    data = Dataset.from_path(path)
    first, second = data.catalogue.frame.rows(named=True)
    assert (first["title"], first["description"], first["price"], first["features"]) == ("Card", "one two", 1299.0, "f")
    assert (second["title"], second["price"]) == (None, None)


def test_amazon_2023(tmp_path):
    review = {
        "rating": 4,
        "title": "Nice",
        "text": "Smells good",
        "asin": "B9",
        "parent_asin": "B1",
        "user_id": "AE",
        "timestamp": 1588687728923,
    }
    write(tmp_path / "All_Beauty.jsonl.gz", lines([review, {**review, "user_id": "AF"}]))
    write(
        tmp_path / "meta_All_Beauty.jsonl.gz", lines([{"parent_asin": "B1", "title": "Soap", "store": "S", "price": None, "features": []}])
    )
    data = Dataset.from_path(tmp_path)
    assert data.interactions.rows() == [("AE", "B1", 1588687728.923, 4.0), ("AF", "B1", 1588687728.923, 4.0)]
    assert "milliseconds" in data.source["notes"][0]
    assert data.reviews["summary"].to_list() == ["Nice", "Nice"]
    assert data.catalogue.frame["brand"].to_list() == ["S"]


def test_amazon_in_a_zip(tmp_path):
    with zipfile.ZipFile(tmp_path / "Music.zip", "w") as archive:
        archive.writestr("Music.json", lines(OLD))
    assert len(Dataset.from_path(tmp_path)) == 2
    assert Dataset.from_path(tmp_path / "Music.zip").catalogue is None


def test_amazon_mistakes(tmp_path):
    path = write(tmp_path / "Broken.json", lines(OLD) + '{"reviewerID": "A3", \n')
    with pytest.raises(DataError, match=r"Broken.json`, row 3: not JSON"):
        Dataset.from_path(path)
    good = write(tmp_path / "b" / "Good.json", lines(OLD))
    write(good.parent / "meta_Good.json", '{"asin": "1"}\nimport os\n')
    with pytest.raises(DataError, match=r"meta_Good.json`, row 2: 'import os' is not an object with `asin`"):
        Dataset.from_path(good)
    other = write(tmp_path / "c" / "other.json", "{}\n")
    with pytest.raises(DataError, match="holds no Amazon reviews"):
        Dataset.from_path(other, reader="amazon")


# ---- sequences, baskets, sessions ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sequences.txt.gz", "sequential_data.txt"])
def test_s3rec(tmp_path, name):
    write(tmp_path / name, "1 10 11 10\n2 12\n")
    write(tmp_path / "items.tsv", 'item_id\tasin\ttitle\n10\tB1\t6" pan\n11\tB2\t\n12\tB3\tOil\n')
    write(tmp_path / "item2attributes.json.gz", json.dumps({"10": [1, 2], "12": [3]}))
    data = Dataset.from_path(tmp_path)
    assert data.source["reader"] == "s3rec"
    assert data.interactions.rows() == [(1, 10), (1, 11), (1, 10), (2, 12)]
    assert data.catalogue.frame["title"].to_list() == ['6" pan', None, "Oil"]
    assert data.catalogue.frame["attributes"].to_list() == [[1, 2], None, [3]]
    assert data.catalogue.texts(pl.Series([10, 11])) == ['6" pan', ""]
    assert Dataset.from_path(tmp_path / name).hash == data.hash


def test_s3rec_mistakes(tmp_path):
    with pytest.raises(DataError, match=r"row 2: user '2' has no item; each line must be `user item item …`"):
        Dataset.from_path(write(tmp_path / "a" / "sequences.txt", "1 10\n2\n"))
    with pytest.raises(DataError, match="is empty; each line must hold a user"):
        Dataset.from_path(write(tmp_path / "b" / "sequences.txt", "\n"))
    with pytest.raises(UserError, match="holds sequences, which have no columns; leave `columns` out"):
        Dataset.from_path(tmp_path / "a", columns={"user": "u"})


def test_lastfm(tmp_path):
    write(tmp_path / "user_artists.dat.gz", "userID\tartistID\tweight\n2\t51\t13883\n3\t52\t11\n")
    write(tmp_path / "artists.dat", 'id\tname\turl\tpictureURL\n51\tDuran "D" Duran\thttp://x\t\n52\tAir\thttp://y\t\n')
    write(tmp_path / "tags.dat", "tagID\ttagValue\n1\tpop\n2\tschöne\n", encoding="latin-1")
    write(
        tmp_path / "user_taggedartists.dat",
        "userID\tartistID\ttagID\tday\tmonth\tyear\n2\t51\t2\t1\t4\t2009\n3\t51\t1\t1\t4\t2009\n3\t51\t2\t1\t4\t2009\n",
    )
    write(tmp_path / "user_friends.dat", "userID\tfriendID\n2\t3\n3\t2\n")
    data = Dataset.from_path(tmp_path)
    assert data.source["reader"] == "lastfm"
    assert data.interactions.rows() == [(2, 51, 13883.0), (3, 52, 11.0)]
    assert data.catalogue.frame.rows() == [(51, 'Duran "D" Duran', ["schöne", "pop"]), (52, "Air", None)]
    assert data.users.rows() == [(2, [3]), (3, [2])]


def test_yoochoose_slices_and_original(tmp_path):
    write(tmp_path / "yoochoose-clicks-1_train_full.txt.gz", "SessionId\tItemId\tTime\n3\t2147\t1396437466.94\n")
    write(tmp_path / "yoochoose-clicks-1_test.txt.gz", "SessionId\tItemId\tTime\n4\t2148\t1396860669.277\n")
    write(tmp_path / "yoochoose-clicks-1_train_tr.txt.gz", "SessionId\tItemId\tTime\n9\t9\t9\n")
    data = Dataset.from_path(tmp_path)
    assert data.interactions.rows() == [(3, 2147, 1396437466.94, 3, "train_full"), (4, 2148, 1396860669.277, 4, "test")]
    original = write(
        tmp_path / "o" / "yoochoose-clicks.dat", "1,2014-04-07T10:51:09.277Z,214536502,0\n2,2014-04-07T10:51:10Z,214536503,S\n"
    )
    assert Dataset.from_path(original).interactions["timestamp"].to_list() == [1396867869.277, 1396867870.0]


def test_tafeng(tmp_path):
    write(tmp_path / "a" / "tafeng.json.gz", json.dumps({"7": [[1, 2], [1]], "8": [[3]]}))
    data = Dataset.from_path(tmp_path / "a")
    assert data.interactions.rows() == [(7, 1, 0), (7, 2, 0), (7, 1, 1), (8, 3, 0)]
    write(tmp_path / "b" / "x_TaFeng.json", json.dumps({"train": {"7": [[1]]}, "test": {"8": [[2]]}}))
    assert Dataset.from_path(tmp_path / "b").interactions["part"].to_list() == ["train", "test"]
    with pytest.raises(DataError, match="must map each user to a list of baskets"):
        Dataset.from_path(write(tmp_path / "tafeng.json", "[1]"))


# ---- which reader --------------------------------------------------------------------------------------------------------------


def test_the_reader_may_be_named(tmp_path):
    path = write(tmp_path / "clicks.log", "user,item\n1,2\n2,3\n")
    assert len(Dataset.from_path(path, reader="csv")) == 2
    with pytest.raises(UserError, match="unknown reader `cvs`; did you mean `csv`"):
        Dataset.from_path(path, reader="cvs")


def test_unknown_forms(tmp_path):
    with pytest.raises(DataError, match=r"`.*log.xlsx` has no form that is known \(file type `.xlsx`\); known: .*MovieLens"):
        Dataset.from_path(write(tmp_path / "log.xlsx", "x"))
    write(tmp_path / "d" / "books.csv", "book_id,title\n1,x\n")
    with pytest.raises(DataError, match=r"has no form that is known \(`books.csv`\)"):
        Dataset.from_path(tmp_path / "d")
    with pytest.raises(DataError, match="does not exist; give a file or a folder"):
        Dataset.from_path(tmp_path / "nowhere")
    with pytest.raises(DataError, match="does not exist"):
        Dataset.from_csv(tmp_path / "nowhere.csv")


def test_readers_of_others_join_by_entry_point(tmp_path, monkeypatch):
    path = write(tmp_path / "log.csv", "user,item\n1,2\n")
    monkeypatch.setattr(READERS, "_table", {**READERS._table, "mine": f"{__name__}:Mine"})
    monkeypatch.setitem(__import__("sys").modules, __name__, __import__("types").SimpleNamespace(Mine=Mine))
    assert detect(tmp_path / "log.mine") == "mine"
    assert detect(path) == "csv"


class Mine:
    form = "a form of mine"

    def matches(self, path):
        return path.suffix == ".mine"
