"""Bugs in deliveries to HTTP endpoints."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_CONNECTION = "wonderq/push/connection.py"
_CONNECTIONS = "wonderq/push/connections.py"
_DELIVERY = "wonderq/push/delivery.py"
_ENDPOINTS = "wonderq/broker/endpoints.py"
_HOSTS = "wonderq/model/push_hosts.py"
_LINE = "wonderq/push/line.py"
_PUSHER = "wonderq/push/pusher.py"
_PUSHES = "wonderq/broker/pushes.py"
_RESOLVER = "wonderq/push/resolver.py"
_OF_CONNECTIONS = "tests/push/test_connections.py"
_OF_DELIVERIES = "tests/push/test_deliveries.py"
_OF_HOSTS = "tests/push/test_hosts.py"
_OF_ISOLATION = "tests/push/test_isolation.py"
_OF_REST = "tests/http/test_push.py"
_OF_SNS = "tests/sns/test_http_endpoints.py"

MUTANTS = [
    Mutant(
        "endpoints_of_a_deleted_topic_wait_on",
        "Long polls on a queue end only at their own deadline, since its messages wake an endpoint that has ended.",
        "wonderq/broker/topics.py",
        "            _end_deliveries(core, pushed)\n",
        "",
        ("tests/broker/test_endpoints.py::test_an_endpoint_that_has_ended_is_woken_for_no_message_of_its_queue",),
    ),
    Mutant(
        "a_topic_is_deleted_after_its_endpoints",
        "A queue is left for ever that was made for an endpoint of a topic while the topic was deleted.",
        "wonderq/broker/topics.py",
        "            pushed = [each for each in topic.subscriptions.values() if each.push is not None]\n"
        "            core.append",
        "            pushed = [each for each in topic.subscriptions.values() if each.push is not None]\n"
        "        yield_to_others()\n"
        "        with core.transaction as now_ms:\n"
        "            core.append",
        (
            "tests/broker/test_endpoints.py::test_a_topic_with_an_endpoint_that_comes_while_it_is_deleted_leaves_no_queue",
        ),
    ),
    Mutant(
        "pushes_into_the_network_by_a_name",
        "Whoever controls a listed name reads and changes services that only the broker can reach.",
        _RESOLVER,
        "dict.fromkeys(found) if self._permits(each)]",
        "dict.fromkeys(found)]",
        (f"{_OF_HOSTS}::test_a_name_that_leads_into_the_network_gets_no_connection",),
    ),
    Mutant(
        "pushes_to_a_second_lookup",
        "A name that changes between the check and the connection leads into the network.",
        _CONNECTIONS,
        "            address,\n            endpoint.port,\n",
        "            endpoint.host,\n            endpoint.port,\n",
        (f"{_OF_HOSTS}::test_the_connection_is_made_to_the_address_that_was_checked",),
    ),
    Mutant(
        "kept_connection_escapes_the_check",
        "A host that leads elsewhere now, or to an address that is permitted no longer, still gets messages.",
        _CONNECTIONS,
        "            if self._idle[connection] == place:\n",
        "            if True:\n",
        (f"{_OF_CONNECTIONS}::test_a_kept_connection_is_used_only_while_its_address_is_right",),
    ),
    Mutant(
        "begun_response_is_asked_for_again",
        "An endpoint that has begun its response gets the request again at once.",
        _CONNECTION,
        "            if not self._has_answered:\n",
        "            if True:\n",
        (f"{_OF_CONNECTIONS}::test_a_request_whose_response_began_is_not_repeated",),
    ),
    Mutant(
        "closed_connection_costs_an_attempt",
        "An endpoint that closes idle connections makes messages use up their retries.",
        _CONNECTIONS,
        "            except NoResponseError:\n",
        "            except ZeroDivisionError:\n",
        (f"{_OF_CONNECTIONS}::test_a_connection_that_ends_before_the_response_is_replaced_once",),
    ),
    Mutant(
        "response_of_another_request",
        "Bytes after a response count as the response to the next message.",
        _CONNECTION,
        " and not self._received and",
        " and",
        (f"{_OF_CONNECTIONS}::test_a_connection_is_not_used_again_after_such_a_response",),
    ),
    Mutant(
        "connections_are_kept_without_bound",
        "Each endpoint that is used once takes a file of the broker for half a minute.",
        _CONNECTIONS,
        "        elif len(self._idle) >= self._limits.idle:\n",
        "        elif False:\n",
        (f"{_OF_CONNECTIONS}::test_so_many_connections_are_kept",),
    ),
    Mutant(
        "pushes_through_tunnels",
        "An IPv6 address that leads to a private one of IPv4 counts as public.",
        _HOSTS,
        "not any(found in each for each in _NOT_PUBLIC)",
        "True",
        (f"{_OF_HOSTS}::test_an_address_that_is_not_public_must_be_listed",),
    ),
    Mutant(
        "pushes_to_hosts_that_nobody_named",
        "Whoever may subscribe makes the broker send requests to any host.",
        _ENDPOINTS,
        "    if not hosts.permits_host(endpoint.host):\n",
        "    if False:\n",
        (
            f"{_OF_REST}::test_what_is_wrong_is_refused_and_changes_nothing",
            f"{_OF_HOSTS}::test_without_hosts_endpoints_are_refused",
        ),
    ),
    Mutant(
        "pushes_to_hosts_that_are_named_no_longer",
        "An operator takes a host from the list, and the broker still delivers to it.",
        _PUSHER,
        "        if not self._pushes.hosts.permits_host(parse_endpoint(pushed.push.url).host):\n",
        "        if False:\n",
        (f"{_OF_HOSTS}::test_an_endpoint_that_is_listed_no_longer_gets_nothing_and_loses_nothing",),
    ),
    Mutant(
        "redirect_counts_as_delivered",
        "A message is deleted although the endpoint has only redirected its request.",
        _DELIVERY,
        "    if 200 <= status < 300:\n",
        "    if 200 <= status < 400:\n",
        (f"{_OF_HOSTS}::test_a_redirect_is_not_followed",),
    ),
    Mutant(
        "refused_message_is_repeated",
        "An endpoint that refuses a message gets it again and again.",
        _DELIVERY,
        "        return Outcome(reason, is_final=True)\n",
        "        return Outcome(reason)\n",
        (f"{_OF_DELIVERIES}::test_a_refused_message_is_not_repeated",),
    ),
    Mutant(
        "status_waits_for_the_body",
        "An endpoint that has accepted a message gets it again, because the body of its response is slow.",
        _DELIVERY,
        "                answer = await self._post(endpoint, addresses, request)\n",
        "                answer = await self._post(endpoint, addresses, request)\n"
        "                await answer.finish()\n",
        (f"{_OF_DELIVERIES}::test_the_status_counts_when_the_body_outlasts_the_timeout",),
    ),
    Mutant(
        "status_is_forgotten_at_the_end",
        "A message that its endpoint has accepted is delivered again when the broker stops.",
        _DELIVERY,
        "        with suppress(asyncio.CancelledError):\n",
        "        with suppress(ZeroDivisionError):\n",
        (f"{_OF_DELIVERIES}::test_the_status_counts_when_the_broker_stops_during_the_body",),
    ),
    Mutant(
        "few_lookups_hold_up_all_others",
        "Endpoints whose name servers hang stop the deliveries to all named endpoints.",
        _RESOLVER,
        "self._threads < self._most:",
        "self._threads < 16:",
        (f"{_OF_ISOLATION}::test_lookups_that_hang_leave_threads_for_the_others",),
    ),
    Mutant(
        "attempt_without_a_lookup_counts",
        "Messages use up their retries because the name servers of other endpoints hang.",
        _DELIVERY,
        "            return None\n        try:\n",
        '            return Outcome("The lookup did not begin.")\n        try:\n',
        (f"{_OF_ISOLATION}::test_an_attempt_whose_lookup_does_not_begin_is_none",),
    ),
    Mutant(
        "lookup_outlives_the_broker",
        "A broker that is stopped does not end before a name server has answered.",
        _RESOLVER,
        ", daemon=True).start()",
        ").start()",
        (f"{_OF_ISOLATION}::test_a_lookup_that_hangs_does_not_delay_the_end_of_the_process",),
    ),
    Mutant(
        "busy_endpoint_loses_messages",
        "A message becomes a dead letter because the endpoint was busy for a moment.",
        _DELIVERY,
        " and status != 429:",
        ":",
        (f"{_OF_DELIVERIES}::test_a_fault_of_the_endpoint_is_repeated",),
    ),
    Mutant(
        "retry_comes_at_once",
        "A message uses up its retries within moments, while its endpoint is down.",
        _DELIVERY,
        "Change(delay_ms=delay_ms) if delay_ms else Change(visibility_timeout_ms=0)",
        "Change(visibility_timeout_ms=0)",
        (f"{_OF_DELIVERIES}::test_an_attempt_that_fails_is_repeated_after_its_delay",),
    ),
    Mutant(
        "signature_leaves_the_body_out",
        "Whoever has seen one request can send another body with its signature.",
        "wonderq/push/webhook.py",
        ".encode() + body, ",
        ".encode(), ",
        (f"{_OF_DELIVERIES}::test_a_request_has_headers_and_a_signature",),
    ),
    Mutant(
        "secret_is_shown_again",
        "Whoever may look at subscriptions can forge requests to their endpoints.",
        "wonderq/rest/objects.py",
        '        "confirmed": push.confirmed,\n',
        '        "confirmed": push.confirmed,\n        "secret": push.secret,\n',
        (f"{_OF_REST}::test_a_secret_is_shown_once_and_never_again",),
    ),
    Mutant(
        "failing_endpoint_keeps_its_slots",
        "An endpoint that hangs takes slots from all others.",
        _LINE,
        "            self.limit, self.reason = 1, outcome.reason\n",
        "            self.reason = outcome.reason\n",
        (f"{_OF_ISOLATION}::test_an_endpoint_that_hung_gets_one_request_at_a_time",),
    ),
    Mutant(
        "one_endpoint_gets_all_slots",
        "A fast endpoint gets as many requests at a time as there are messages.",
        _LINE,
        "            self.limit = min(self.limit + 1, self._most)\n",
        "            self.limit += 1\n",
        (
            f"{_OF_DELIVERIES}::test_no_more_requests_at_a_time_than_the_limit",
            f"{_OF_ISOLATION}::test_a_message_that_is_refused_does_not_slow_its_endpoint_down",
        ),
    ),
    Mutant(
        "down_endpoint_is_not_spared",
        "An endpoint that is down is asked without a pause, and all its messages use up their retries.",
        _LINE,
        "                self._paused_until_s = now_s + min(pause_s, _LONGEST_PAUSE_S)\n",
        "                self._paused_until_s = now_s\n",
        (f"{_OF_ISOLATION}::test_the_pause_after_failures_grows_to_a_bound_and_ends_with_a_success",),
    ),
    Mutant(
        "paused_endpoint_keeps_a_message",
        "A consumer that waits does not get a message for up to five minutes, because an endpoint of its queue is down.",
        _PUSHER,
        "        if line.has_place:\n",
        "        if False:\n",
        (f"{_OF_DELIVERIES}::test_an_endpoint_that_pauses_keeps_no_message_from_other_consumers",),
    ),
    Mutant(
        "queue_of_an_endpoint_has_the_name_of_another",
        "The messages of a queue that a user has made are delivered to an endpoint, or lost.",
        _ENDPOINTS,
        "<= _MAX_QUEUE_CHARACTERS and name + suffix not in state.queues:",
        "<= _MAX_QUEUE_CHARACTERS:",
        (
            f"{_OF_REST}::test_the_queue_of_a_long_name_has_another",
            f"{_OF_SNS}::test_an_endpoint_takes_over_no_queue_of_others",
        ),
    ),
    Mutant(
        "group_is_delivered_at_once",
        "An endpoint of a FIFO topic gets messages of one group in another order.",
        _PUSHES,
        "                if queue.is_fifo:\n",
        "                if False:\n",
        (f"{_OF_DELIVERIES}::test_a_fifo_topic_keeps_the_order_of_each_group",),
    ),
    Mutant(
        "queue_outlives_its_endpoint",
        "The queue of an endpoint stays when its subscription ends, and nobody empties it.",
        "wonderq/broker/topics.py",
        "            if subscription.owns_queue:\n",
        "            if False:\n",
        (f"{_OF_DELIVERIES}::test_the_subscription_ends_its_queue_and_its_deliveries",),
    ),
    Mutant(
        "stopping_counts_attempts",
        "Each restart of the broker uses up a retry of the messages under way.",
        _DELIVERY,
        "Change(visibility_timeout_ms=0, uncounted=True)",
        "Change(visibility_timeout_ms=0)",
        (f"{_OF_ISOLATION}::test_stopping_gives_back_what_is_under_way",),
    ),
    Mutant(
        "unconfirmed_endpoint_gets_messages",
        "Whoever may subscribe lets the broker send messages to endpoints of others.",
        "wonderq/broker/publish_batch.py",
        "        if subscription.paused or subscription.is_pending:\n",
        "        if subscription.paused:\n",
        (f"{_OF_SNS}::test_an_endpoint_is_asked_to_confirm_and_gets_nothing_before",),
    ),
    Mutant(
        "any_token_confirms",
        "Whoever knows the name of a subscription confirms it for an endpoint of others.",
        "wonderq/sns/subscriptions.py",
        "push is None or not compare_digest(push.token.encode(), token.encode()):",
        "push is None:",
        (f"{_OF_SNS}::test_subscribing_again_asks_again_with_another_token",),
    ),
    Mutant(
        "token_is_valid_for_ever",
        "A token that was intercepted long ago confirms a subscription.",
        "wonderq/sns/subscriptions.py",
        "        if push.token_until_ms < context.broker.core.clock.now_ms():\n",
        "        if False:\n",
        (f"{_OF_SNS}::test_subscribing_again_asks_again_with_another_token",),
    ),
    Mutant(
        "endpoints_get_the_text_of_queues",
        "An endpoint gets the text that the publisher wrote for queues.",
        "wonderq/model/topics.py",
        '        return "" if self.push is None else self.push.url.partition(":")[0].lower()\n',
        '        return ""\n',
        (f"{_OF_SNS}::test_endpoints_get_the_text_of_their_protocol",),
    ),
    Mutant(
        "text_for_endpoints_is_a_publication_of_its_own",
        "A consumer sees two ids of one publication, and a repeated publish is not recognized.",
        "wonderq/broker/publish_batch.py",
        "        if original is not None:\n",
        "        if False:\n",
        (
            f"{_OF_SNS}::test_the_text_for_an_endpoint_has_the_same_notification",
            "tests/broker/test_publish.py::test_endpoints_may_get_another_text",
        ),
    ),
    Mutant(
        "unsubscribed_endpoint_is_not_told_after_a_crash",
        "An endpoint is not told of its end if the broker is killed at the same time.",
        "wonderq/push/pusher.py",
        "        for notice in await self._in_broker(self._broker.notices.waiting):\n",
        "        for notice in ():\n",
        (f"{_OF_SNS}::test_a_notice_survives_a_crash_and_is_sent_then",),
    ),
    Mutant(
        "unsubscribed_endpoint_is_told_for_ever",
        "Each start of the broker tells endpoints again that were unsubscribed long ago.",
        "wonderq/push/notices.py",
        "                await self._in_broker(partial(self._broker.notices.end, notice))\n",
        "                pass\n",
        (f"{_OF_SNS}::test_an_endpoint_that_is_unsubscribed_is_told",),
    ),
    Mutant(
        "request_to_confirm_has_an_old_token",
        "An endpoint that subscribes twice gets the first token twice, and cannot confirm its subscription.",
        _PUSHER,
        "self._deliver(line, claim.pushed, policy, message)",
        "self._deliver(line, pushed, policy, message)",
        (f"{_OF_SNS}::test_a_request_to_confirm_has_the_newest_token",),
    ),
    Mutant(
        "any_token_subscribes_again",
        "Whoever knows the id of a notice subscribes an endpoint of others again.",
        "wonderq/broker/notices.py",
        " or not compare_digest(notice.token.encode(), token.encode()):",
        ":",
        (f"{_OF_SNS}::test_a_token_that_does_not_subscribe_again",),
    ),
    Mutant(
        "subscription_that_begins_again_is_forgotten",
        "An endpoint that is subscribed again at once gets nothing until the broker is restarted.",
        _PUSHER,
        "        if line.waiter.wake.is_set():\n            return",
        "        if False:\n            return",
        (f"{_OF_DELIVERIES}::test_a_subscription_that_begins_again_while_its_end_is_noticed_gets_its_messages",),
    ),
    Mutant(
        "change_of_a_subscription_during_a_claim_is_missed",
        "An endpoint whose subscription changes while the broker looks at it gets nothing until the next change.",
        _PUSHER,
        "        elif line.is_filling:\n",
        "        elif False:\n",
        (
            f"{_OF_DELIVERIES}::test_a_subscription_that_begins_again_while_its_end_is_noticed_gets_its_messages",
            f"{_OF_HOSTS}::test_an_endpoint_that_moves_to_a_listed_host_while_its_old_one_is_refused_gets_its_messages",
        ),
    ),
    Mutant(
        "outcomes_are_settled_in_the_queue_of_others",
        "Messages are delivered again after their subscription has got another queue.",
        _PUSHER,
        "                for queue in {each.queue for each in settled}:  # only one, unless the subscription began again\n"
        "                    await self._settle_in(queue, [each for each in settled if each.queue == queue], line.key)\n",
        "                await self._settle_in(settled[-1].queue, settled, line.key)\n",
        (f"{_OF_DELIVERIES}::test_outcomes_are_settled_in_the_queue_of_their_claim",),
    ),
    Mutant(
        "changed_policy_does_not_apply_to_what_is_claimed",
        "A message that was published after a change of the policy is a dead letter by the old one.",
        _PUSHER,
        "        if claim.pushed != pushed:",
        "        if False:",
        (f"{_OF_DELIVERIES}::test_a_policy_that_changes_before_the_claim_applies_to_its_messages",),
    ),
    Mutant(
        "request_outlasts_its_claim",
        "A message is sent twice at a time, because the timeout became longer after its claim.",
        _PUSHER,
        "replace(changed, timeout=min(changed.timeout, policy.timeout))",
        "changed",
        (f"{_OF_DELIVERIES}::test_a_policy_that_changes_before_the_claim_applies_to_its_messages",),
    ),
]
