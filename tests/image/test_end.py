"""Jobs end: the proxy goes soon after the last container, and what is under way in it is answered before."""

import threading
import time

from sidecar import ORDINARY, PROXY, answers, started, until

# Every other read fails once, with the wait that Batch names for the next try.
FAILING = """
name = "failing"
description = "Every other read fails once."

[[fault]]
kind = "refuse"
on = ["reads"]
every = 2
status = 503
retry_after = "{wait}"
"""
SLOW = """
name = "slow"
description = "Every read is answered after six seconds."

[[fault]]
kind = "slow"
on = ["reads"]
every = 1
hold = "6s"
"""


class Stopping(threading.Thread):
    """SIGTERM to the proxy, meanwhile the test goes on."""

    def __init__(self, running):
        super().__init__()
        self.running, self.result = running, None
        self.start()
        until(lambda: '"draining"' in running.logs(PROXY))

    def run(self):
        self.result = self.running.stop(PROXY)

    def ended(self):
        self.join()
        return self.result


def test_a_pod_ends_within_five_seconds_of_its_last_container(kubelet, simulate):
    running = started(kubelet, simulate("calm"), ["/scripts/ask.py", "3"])
    assert running.wait("main") == 0, running.logs("main")
    code, took = running.stop(PROXY)
    print(f"the proxy was gone {took:.2f} s after the order to stop it")
    assert code == 0 and took < 5
    assert [answer["status"] for answer in answers(running)] == [200, 200, 200]


def test_a_slow_answer_under_way_reaches_the_client_before_the_proxy_goes(kubelet, simulate):
    running = started(kubelet, simulate(SLOW), ["/scripts/ask.py", "1"])
    until(lambda: running.metric("batch_retry_proxy_connections", kind="intercept") == 1)
    stopping = Stopping(running)
    assert running.get("/readyz")[0] == 503
    assert not answers(running), "the answer was there before the order to stop"
    code, took = stopping.ended()
    assert (code, took < 11) == (0, True), took
    assert running.wait("main") == 0
    assert [answer["status"] for answer in answers(running)] == [200]


def stopped_before_a_replay(kubelet, simulate, wait):
    """Stops the proxy while the second of two reads waits so long for its replay: the exit code, how long it took, and both answers."""
    running = started(kubelet, simulate(FAILING.format(wait=wait)), ["/scripts/ask.py", "2"])
    until(lambda: running.metric("batch_retry_proxy_upstream_responses_total", status="503") == 1)
    code, took = Stopping(running).ended()
    assert running.wait("main") == 0
    first, second = answers(running)
    return code, took, first, second


def test_a_replay_that_fits_into_the_grace_is_still_sent(kubelet, simulate):
    code, took, first, second = stopped_before_a_replay(kubelet, simulate, wait="3s")
    assert (code, took < 6) == (0, True), took
    assert (first["status"], second["status"]) == (200, 200), second
    assert "attempts=2" in second["fate"] and "fate=replayed" in second["fate"]


def test_a_replay_past_the_grace_is_not_waited_for_and_its_client_is_told_why(kubelet, simulate):
    # Within the deadline of the request (50 s), past shutdown.grace (25 s).
    code, took, _, second = stopped_before_a_replay(kubelet, simulate, wait="40s")
    assert (code, took < 5) == (0, True), took
    assert second["status"] == 503, "the account's own last word"
    assert "ServerBusy" in second["error"] and "attempts=1" in second["fate"], second


def test_before_1_29_the_program_ends_the_proxy(kubelet, simulate):
    running = started(kubelet, simulate("calm"), ["/scripts/ask_then_shut_down.py"], ORDINARY)
    assert running.wait("main") == 0, running.logs("main")
    ended = time.monotonic()
    assert running.wait(PROXY) == 0
    assert time.monotonic() - ended < 5
    assert [answer["status"] for answer in answers(running)] == [200]


def test_a_native_sidecar_is_not_stopped_by_the_program(kubelet, simulate):
    running = started(kubelet, simulate("calm"), ["/scripts/ask_then_shut_down.py"])
    assert running.wait("main") == 1, "a native sidecar needs no /shutdown, so it is not allowed"
    assert running.running(PROXY)
