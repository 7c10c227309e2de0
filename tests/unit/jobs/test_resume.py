"""Which checkpoint a round starts from."""

from __future__ import annotations

from kinema_api.layout import checkpoint_prefix
from kinema_jobs.train.resume import Candidate, Choice, before, candidates, committed

ATTEMPT = "trainings/n/t/u/run-001/attempt-002/"
OLDER = "trainings/n/t/u/run-001/attempt-001/step-00000005/round-0003/"


def at(step: int, round_: int) -> Candidate:
    return Candidate(step, round_, checkpoint_prefix(ATTEMPT, step, round_))


def test_manifests_are_found_among_keys() -> None:
    keys = [at(10, 1).prefix + "manifest.json", at(10, 1).prefix + ".metadata", f"{ATTEMPT}export/manifest.json"]
    assert committed(keys) == [at(10, 1)]


def test_candidates_are_the_last_choice_and_what_its_round_committed() -> None:
    found = [at(10, 1), at(20, 1), at(20, 2), at(30, 2)]
    choice = Choice(2, at(20, 1).prefix)
    assert candidates(found, 3, choice, None) == [c.prefix for c in (at(30, 2), at(20, 2), at(20, 1), at(10, 1))]


def test_a_late_manifest_of_an_older_round_is_not_read() -> None:
    late = at(40, 1)
    found = [at(10, 1), at(20, 1), late, at(30, 2)]
    assert late.prefix not in candidates(found, 3, Choice(2, at(20, 1).prefix), None)


def test_what_the_round_itself_or_a_later_one_wrote_is_not_read() -> None:
    assert candidates([at(10, 3), at(20, 4)], 3, None, None) == []


def test_a_choice_of_nothing_shuts_out_older_rounds() -> None:
    assert candidates([at(10, 1), at(5, 2)], 3, Choice(2, ""), OLDER) == [at(5, 2).prefix, OLDER]


def test_without_memory_the_newest_round_comes_first() -> None:
    found = [at(10, 1), at(40, 1), at(30, 2)]
    assert candidates(found, 5, None, OLDER) == [at(30, 2).prefix, at(40, 1).prefix, at(10, 1).prefix, OLDER]


def test_behind_a_torn_start_of_the_attempt_stand_its_elders() -> None:
    found = [Candidate(5, 3, OLDER), Candidate(9, 4, "late"), Candidate(4, 2, "two"), Candidate(3, 3, "three")]
    assert before(found, OLDER) == ["three", "two"]
