"""S3, against moto's server on loopback through s3fs. They are not in the `test` extra (botocore and what moto needs
are 60 MB): `pip install -e '.[test-s3]'` brings them, and without them these tests say that they were skipped."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

for name in ("s3fs", "moto", "flask", "flask_cors"):
    pytest.importorskip(name, reason=f"S3 is not tested: `{name}` is missing (pip install -e '.[test-s3]')")

pytestmark = pytest.mark.filterwarnings("ignore")  # botocore's and moto's own


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(endpoint, monkeypatch, tmp_path):
    """A boto3 client, with the environment set as a writer has it."""
    for key, value in {
        "AWS_ACCESS_KEY_ID": "writer", "AWS_SECRET_ACCESS_KEY": "writer-secret", "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": endpoint, "AWS_CONFIG_FILE": str(tmp_path / "none"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"), "AWS_EC2_METADATA_DISABLED": "true",
    }.items():  # fmt: skip
        monkeypatch.setenv(key, value)
    import boto3

    client = boto3.client("s3")
    bucket = tmp_path.name.replace("_", "-").lower()[:60]
    client.create_bucket(Bucket=bucket)
    client.bucket = bucket
    return client


def url(s3) -> str:
    return f"s3://{s3.bucket}/some/prefix"


def names(s3) -> list[str]:
    found = s3.list_objects_v2(Bucket=s3.bucket).get("Contents", [])
    return [o["Key"].removeprefix("some/prefix/") for o in found]


@pytest.fixture
def pushed(s3, machines, built):
    built.manifest((built.root / "tunekit.toml").read_text().replace(str(machines.remote), url(s3)))
    (body,) = built.run("push", "--json").events
    assert body["entries"] == ["dataset:a", "dataset:b", "dataset:c"]
    return built


def test_push_and_build(s3, machines, pushed):
    assert {n.split("/")[0] for n in names(s3)} == {"ac", "cas", "parts"}
    (again,) = pushed.run("push", "--json").events
    assert again["objects"] == 0 and again["entries"] == []
    yours = machines.make("yours", url=url(s3))
    done = yours.build()
    assert done.one("summary")["fetched"] == ["dataset:c"] and done.err == ""


def test_readers_need_no_credentials(s3, machines, pushed, monkeypatch):
    """Where the bucket is public. Where it is not, they are told, and build without it."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    from tunekit.share.remote_bucket import Bucket

    place = Bucket(url(s3))
    assert place._fs.anon is True
    done = machines.make("other", url=url(s3)).build()
    assert done.ran == machines.labels and "warning[remote-denied]" in done.err
    for name in names(s3):
        s3.put_object_acl(Bucket=s3.bucket, Key=f"some/prefix/{name}", ACL="public-read")
    assert machines.make("yours", url=url(s3)).build().one("summary")["fetched"] == ["dataset:c"]


def test_a_writer_without_credentials_is_told(s3, machines, built, monkeypatch):
    """moto lets anybody write: the refusal is s3fs's own exception for one."""
    import s3fs

    async def refuse(self, *args, **more):
        raise PermissionError("Access Denied")

    monkeypatch.setattr(s3fs.S3FileSystem, "_pipe_file", refuse)
    built.manifest((built.root / "tunekit.toml").read_text().replace(str(machines.remote), url(s3)))
    done = built.run("push")
    assert done.code == 1 and "error[remote-denied]" in done.err and "credentials" in done.err


def test_many_names_are_looked_for_by_listing(s3, machines, pushed, monkeypatch):
    from tunekit.share import remote_bucket

    place = remote_bucket.Bucket(url(s3))
    there = [n for n in names(s3) if n.startswith("cas/")]
    asked = [*there, "cas/" + "0" * 64]
    one_by_one = place.sizes(asked)
    monkeypatch.setattr(remote_bucket, "_MANY", 0)
    assert place.sizes(asked) == one_by_one and set(one_by_one) == set(there)


def test_an_entry_is_put_once(s3, machines, pushed):
    from tunekit.share.remote_bucket import Bucket

    place = Bucket(url(s3))
    assert place.put_new("ac/x", b"one") is True
    assert place.put_new("ac/x", b"two") is False
    assert place.read(["ac/x", "ac/y"]) == {"ac/x": b"one"}


@pytest.mark.parametrize("how", ["cut", "other", "gone"])
def test_a_bad_object_is_refused_and_made_anew(s3, machines, pushed, how):
    objects = [n for n in names(s3) if n.startswith("cas/")]
    for name in objects:
        key = f"some/prefix/{name}"
        data = s3.get_object(Bucket=s3.bucket, Key=key)["Body"].read()
        if data.startswith(b"tunekit/tree"):
            continue
        if how == "gone":
            s3.delete_object(Bucket=s3.bucket, Key=key)
        else:
            s3.put_object(Bucket=s3.bucket, Key=key, Body=data[:-1] + (b"" if how == "cut" else b"~"))
    done = machines.make("yours", url=url(s3)).build()
    assert done.ran == machines.labels and done.code == 0
    assert ("warning[remote-poisoned]" in done.err) == (how != "gone")


def test_two_pushers_at_once(s3, machines, built):
    built.manifest((built.root / "tunekit.toml").read_text().replace(str(machines.remote), url(s3)))
    import os

    aws = {k: v for k, v in os.environ.items() if k.startswith("AWS_")}
    both = [built.start("push", "--json", **aws) for _ in range(2)]
    found = [json.loads(p.communicate(timeout=100)[0]) for p in both]
    assert all(sorted(f["entries"] + f["known"]) == ["dataset:a", "dataset:b", "dataset:c"] for f in found)
    assert machines.make("yours", url=url(s3)).build().ran == []


def test_a_bucket_that_is_not_there(s3, machines, built):
    done = machines.make("yours", url="s3://no-such-bucket-here/x").build()
    assert done.ran == machines.labels and "warning[remote-unreachable]" in done.err
    built.manifest(
        (built.root / "tunekit.toml").read_text().replace(str(machines.remote), "s3://no-such-bucket-here/x")
    )
    done = built.run("push")
    assert done.code == 1 and "error[remote-" in done.err


def test_a_large_file_goes_in_pieces_and_comes_whole(s3, tmp_path):
    """Larger than one request: s3fs sends and fetches it in parts."""
    import os

    from tunekit.hashing import sha256_file
    from tunekit.share.remote_bucket import Bucket
    from tunekit.share.remote_place import Item, blob

    path = tmp_path / "large"
    path.write_bytes(os.urandom(1 << 20) * 120)
    digest, size = sha256_file(path), path.stat().st_size
    place = Bucket(url(s3))
    (sent,) = place.put([Item(blob(digest), str(path), size, digest)])
    assert sent.fault == "" and place.sizes([blob(digest), "cas/none"]) == {blob(digest): size}
    (came,) = place.get([Item(blob(digest), str(tmp_path / "back"), size, digest)])
    assert came.fault == "" and sha256_file(tmp_path / "back") == digest
    (bad,) = place.put([Item("cas/bad", str(path), size, "sha256:" + "0" * 64)])
    assert bad.fault and place.sizes(["cas/bad"]) == {}


def test_sizes_of_many_are_listed_whichever_way_is_shorter(s3, monkeypatch):
    """All of a small remote is listed; of one that holds much more, what begins as the names do."""
    import hashlib

    from tunekit.share import remote_bucket
    from tunekit.share.remote_bucket import Bucket

    monkeypatch.setattr(remote_bucket, "_MANY", 5)
    place = Bucket(url(s3))
    names = [f"cas/{hashlib.sha256(bytes([i])).hexdigest()}" for i in range(20)]
    for name in names[:12]:
        place.replace(name, b"x" * 7)
    expected = dict.fromkeys(names[:12], 7)
    assert place._few(names) == expected == place.sizes(names) == place._listed(names)
    real = place._fs.call_s3
    monkeypatch.setattr(place._fs, "call_s3", lambda what, **more: real(what, **more, MaxKeys=5))
    assert place._few(names) is None and place.sizes(names) == expected
    monkeypatch.setattr(place._fs, "call_s3", lambda what, **more: real(what, **more, MaxKeys=10))
    assert place._few(names * 10) == expected, "by pages"
