"""The plan of faults: the same seed is the same plan, chances are kept, questions are spared."""

from trading_system.sim.faults import FRAME_FAULTS, REQUEST_FAULTS, FaultPlan


def test_a_seed_is_a_plan() -> None:
    one, two = FaultPlan(7), FaultPlan(7)

    assert [one.on_request("POST") for _ in range(500)] == [two.on_request("POST") for _ in range(500)]
    assert one.hit == two.hit
    assert one.delay_s() == two.delay_s()


def test_every_fault_comes_about_as_often_as_its_chance_says() -> None:
    plan = FaultPlan(3)
    for _ in range(20_000):
        plan.on_request("POST")
        plan.on_frame()

    for name, rate in {**REQUEST_FAULTS, **FRAME_FAULTS}.items():
        assert 0.7 < plan.hit[name] / 20_000 / rate < 1.3, name


def test_a_question_only_comes_late_or_is_refused_as_too_many() -> None:
    plan = FaultPlan(3)

    assert {plan.on_request("GET") for _ in range(5_000)} == {None, "late", "busy"}
    assert set(plan.hit) == {"late", "busy"}
