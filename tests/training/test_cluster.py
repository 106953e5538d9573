"""The hosts of a job: which of them leads, and which names are refused."""

import pytest

from training.cluster import SINGLE_HOST, Cluster


def test_first_host_by_name_leads() -> None:
    # SageMaker sorts algo-10 before algo-2.
    hosts = ("algo-2", "algo-1", "algo-10")

    assert Cluster("job", hosts, "algo-1").is_leader
    peer = Cluster("job", hosts, "algo-10")
    assert not peer.is_leader
    assert peer.leader == "algo-1"
    assert peer.peers == ("algo-10", "algo-2")


def test_single_host_has_no_peers() -> None:
    assert SINGLE_HOST.is_leader
    assert SINGLE_HOST.peers == ()


@pytest.mark.parametrize(
    ("resume_id", "hosts", "current_host"),
    [
        ("", ("algo-1", "algo-2"), "algo-1"),
        ("a'b", ("algo-1",), "algo-1"),
        ("job", ("algo-1", "algo 2"), "algo-1"),
        ("job", ("algo-1", "algo-1"), "algo-1"),
        ("job", ("algo-1", "algo-2"), "algo-3"),
    ],
)
def test_unusable_names_are_refused(
    resume_id: str, hosts: tuple[str, ...], current_host: str
) -> None:
    with pytest.raises(ValueError, match=r"must be one of|not a name"):
        Cluster(resume_id, hosts, current_host)
