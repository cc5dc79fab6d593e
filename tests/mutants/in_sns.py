"""Bugs in the SNS endpoint."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_ACCESS = "tests/sns/test_access.py"
_DISPATCH = "tests/sns/test_dispatch.py"
_ENDPOINTS = "tests/sns/test_http_endpoints.py"
_OF_TOPICS = "tests/broker/test_topics.py"
_PUBLISH = "tests/sns/test_publish.py"
_SIGNATURES = "tests/sns/test_signatures.py"
_SUBSCRIPTIONS = "tests/sns/test_subscriptions.py"
_TOPICS = "tests/sns/test_topics.py"

MUTANTS = [
    Mutant(
        "sns_serves_keys_of_other_topics",
        "A key changes topics that it does not open.",
        "wonderq/sns/context.py",
        "        if not self.opens(topic):",
        "        if False:",
        (f"{_ACCESS}::test_each_action_is_for_keys_with_its_role_and_its_topic",),
    ),
    Mutant(
        "sns_subscribes_queues_of_others",
        "A key lets its topic write to a queue that it does not open.",
        "wonderq/sns/subscriptions.py",
        "context.topics.subscribe(topic, name, context.opens, expected=None, **new)",
        "context.topics.subscribe(topic, name, expected=None, **new)",
        (f"{_ACCESS}::test_a_key_sees_and_subscribes_only_its_own",),
    ),
    Mutant(
        "sns_shows_subscriptions_of_others",
        "A key reads the filter of a queue that it does not open.",
        "wonderq/sns/subscriptions.py",
        "context.topics.subscription(*_subscription(context), context.opens)",
        "context.topics.subscription(*_subscription(context))",
        (f"{_ACCESS}::test_a_key_sees_and_subscribes_only_its_own",),
    ),
    Mutant(
        "sns_takes_signatures_for_sqs",
        "A signature for one service is valid for the other.",
        "wonderq/sns/endpoint.py",
        'authenticate(self._access, req, body, "sns")',
        "authenticate(self._access, req, body)",
        (f"{_ACCESS}::test_requests_are_signed_with_a_key",),
    ),
    Mutant(
        "sns_ignores_the_version",
        "A client of SQS that names its version gets the answer of SNS.",
        "wonderq/sns/endpoint.py",
        "        return version == wire.VERSION.encode()",
        "        return True",
        (f"{_DISPATCH}::test_a_request_is_of_one_service",),
    ),
    Mutant(
        "sns_creates_a_topic_anew",
        "Creating a topic again changes its attributes without a word.",
        "wonderq/sns/topics.py",
        '        if not _same(attribute, current.get(attribute, ""), value):',
        "        if False:",
        (f"{_TOPICS}::test_a_topic_with_other_attributes_or_tags_is_another",),
    ),
    Mutant(
        "sns_creates_a_topic_over_another",
        "Of two clients that create a topic at the same time, the second one overwrites the attributes of the first.",
        "wonderq/sns/topics.py",
        "context.topics.create(name, ",
        "context.topics.put(name, ",
        (f"{_TOPICS}::test_of_two_that_create_a_topic_the_second_finds_it",),
    ),
    Mutant(
        "sns_counts_subscriptions_in_two_steps",
        "A topic has -1 confirmed subscriptions.",
        "wonderq/broker/topics.py",
        "            info, pending = _info(topic), sum(each.is_pending for each in topic.subscriptions.values())\n"
        "        self._core.confirm()\n",
        "            info = _info(topic)\n"
        "        self._core.confirm()\n"
        "        pending = sum(each.is_pending for each in topic.subscriptions.values())\n",
        (
            f"{_OF_TOPICS}::test_a_topic_and_its_pending_subscriptions_are_of_one_moment",
            f"{_TOPICS}::test_both_numbers_of_subscriptions_are_of_one_moment",
        ),
    ),
    Mutant(
        "sns_confirmation_subscribes_again",
        "An endpoint that was unsubscribed while it confirmed gets everything, without a filter, for ever.",
        "wonderq/sns/subscriptions.py",
        "expected=subscription, push=replace(push, confirmed=True)",
        "push=replace(push, confirmed=True)",
        (
            f"{_ENDPOINTS}::test_a_confirmation_does_not_undo_the_end_of_a_subscription",
            f"{_ENDPOINTS}::test_an_endpoint_keeps_what_the_rest_api_changes",
        ),
    ),
    Mutant(
        "sns_confirmed_subscription_becomes_pending",
        "Messages pass by an endpoint that has confirmed, because it was subscribed again at the same time.",
        "wonderq/sns/subscriptions.py",
        "context.opens, expected=found, push=push)",
        "context.opens, push=push)",
        (f"{_ENDPOINTS}::test_a_confirmed_subscription_does_not_become_pending_again",),
    ),
    Mutant(
        "sns_subscribes_over_another",
        "Of two clients that subscribe an endpoint at the same time, the second one undoes what the first has made.",
        "wonderq/sns/subscriptions.py",
        "context.opens, expected=None, **new)",
        "context.opens, **new)",
        (f"{_ENDPOINTS}::test_of_two_that_create_a_subscription_the_second_finds_it",),
    ),
    Mutant(
        "sns_subscribe_resets_an_endpoint",
        "Subscribing an endpoint again reverts its URL and its delivery settings.",
        "wonderq/sns/subscriptions.py",
        'replace(found.push, style="sns", token=token',
        'Push(url, "sns", confirmed=False, owns_queue=found.owns_queue, token=token',
        (f"{_ENDPOINTS}::test_an_endpoint_keeps_what_the_rest_api_changes",),
    ),
    Mutant(
        "sns_old_token_confirms_what_is_subscribed_meanwhile",
        "The token of a subscription that has ended confirms a later one with other attributes.",
        "wonderq/sns/subscriptions.py",
        "    try:\n        context.topics.subscribe(notice.topic, notice.subscription, expected=None, notice=notice, **fields)\n",
        "    try:\n        context.topics.subscribe(notice.topic, notice.subscription, notice=notice, **fields)\n",
        (f"{_ENDPOINTS}::test_an_old_token_does_not_confirm_what_was_subscribed_meanwhile",),
    ),
    Mutant(
        "sns_attribute_of_an_ended_subscription_is_invalid",
        "A program that meets the end of a subscription takes its own request for malformed.",
        "wonderq/sns/subscriptions.py",
        "context.opens, expected=info.subscription, **fields)",
        "context.opens, **fields)",
        (f"{_ENDPOINTS}::test_an_attribute_of_a_subscription_that_ends_just_then_is_not_found",),
    ),
    Mutant(
        "sns_token_is_for_all_topics_of_a_name",
        "An endpoint subscribes to a topic of others, which got the name of its own one while it used its token.",
        "wonderq/broker/topics.py",
        "            if notice is not None and not self._notices.is_for(notice, found):\n",
        "            if False:\n",
        (
            f"{_ENDPOINTS}::test_a_token_is_for_its_own_topic_and_tells_of_no_other",
            f"{_ENDPOINTS}::test_a_token_is_for_its_own_queue",
        ),
    ),
    Mutant(
        "sns_token_is_for_all_queues_of_a_name",
        "An endpoint gets the messages of a queue that others have made after its subscription ended.",
        "wonderq/broker/notices.py",
        " and (was.owns_queue or self._core.state.find(was.queue) is not None)",
        "",
        (f"{_ENDPOINTS}::test_a_token_is_for_its_own_queue",),
    ),
    Mutant(
        "sns_token_of_an_earlier_end_is_valid",
        "An endpoint whose subscription an operator has ended for good subscribes again.",
        "wonderq/broker/notices.py",
        "        ended = [name for name, each in stored.items() if _is_of(each.value, topic.number, subscription)]\n",
        "        ended: list[str] = []\n",
        (f"{_ENDPOINTS}::test_only_the_token_of_the_last_end_subscribes_again",),
    ),
    Mutant(
        "sns_endpoint_takes_over_a_queue",
        "An endpoint that subscribes again gets the messages of a queue that others have made meanwhile.",
        "wonderq/broker/notices.py",
        'queue = {} if was.owns_queue else {"queue": self.queue}',
        'queue = {"queue": self.queue}',
        (f"{_ENDPOINTS}::test_an_endpoint_takes_over_no_queue_of_others",),
    ),
    Mutant(
        "subscription_need_not_be_the_expected_one",
        "A client's change of a subscription is undone by another client that has not seen it.",
        "wonderq/broker/topics.py",
        "            if expected is not ... and before != expected:\n",
        "            if False:\n",
        (f"{_OF_TOPICS}::test_a_subscription_changes_only_if_it_is_the_expected_one",),
    ),
    Mutant(
        "sns_subscribes_fifo_queues_to_standard_topics",
        "A subscription is accepted that SNS refuses, and the order of the queue means nothing.",
        "wonderq/sns/subscriptions.py",
        "    if queue.endswith(FIFO_SUFFIX) and not is_fifo(topic):",
        "    if False:",
        (f"{_SUBSCRIPTIONS}::test_endpoints_that_cannot_be",),
    ),
    Mutant(
        "sns_removes_no_redrive_policy",
        "A subscription keeps a dead-letter queue that was removed.",
        "wonderq/sns/subscriptions.py",
        '        return {"dead_letter_queue": "", "when_full": "fail"}',
        "        return {}",
        (f"{_SUBSCRIPTIONS}::test_attributes_are_changed_and_removed",),
    ),
    Mutant(
        "sns_redrive_still_fails",
        "A full queue fails the publish although the subscription has a dead-letter queue.",
        "wonderq/sns/subscriptions.py",
        'return {"dead_letter_queue": target, "when_full": "skip"}',
        'return {"dead_letter_queue": target}',
        (f"{_PUBLISH}::test_with_a_redrive_policy_a_full_queue_is_passed_over",),
    ),
    Mutant(
        "sns_sends_the_default_text",
        "Queues get the text that was meant for other protocols.",
        "wonderq/sns/publish.py",
        "text = parts.get(protocol, parts[_DEFAULT])",
        "text = parts[_DEFAULT]",
        (f"{_PUBLISH}::test_a_structured_message",),
    ),
    Mutant(
        "sns_batches_have_any_size",
        "A batch larger than the limit is published.",
        "wonderq/sns/publish.py",
        "    if total > context.limits.batch_bytes:",
        "    if False:",
        (f"{_PUBLISH}::test_a_batch_that_cannot_be_is_refused",),
    ),
    Mutant(
        "sns_signs_no_subject",
        "The subject of a notification can be forged, and the documented check fails.",
        "wonderq/sns/signing.py",
        '"SubscribeURL", "Subject", "Timestamp"',
        '"SubscribeURL", "Timestamp"',
        (f"{_SIGNATURES}::test_the_documented_check_passes",),
    ),
    Mutant(
        "sns_signs_version_two_with_sha1",
        "The documented check of signature version 2 fails.",
        "wonderq/sns/rsa_keys.py",
        'SHA256() if version == "2" else SHA1()',
        "SHA1()",
        (f"{_SIGNATURES}::test_the_documented_check_passes",),
    ),
    Mutant(
        "everybody_reads_the_signing_key",
        "Other users of the machine can forge notifications.",
        "wonderq/sns/signing.py",
        "os.O_EXCL, 0o600)",
        "os.O_EXCL, 0o644)",
        (f"{_SIGNATURES}::test_the_key_is_kept_and_only_its_owner_reads_it",),
    ),
    Mutant(
        "envelopes_name_another_subscription",
        "The link in a message does not end its subscription.",
        "wonderq/sns/envelope.py",
        "name or subscription_name(",
        "subscription_name(",
        (
            f"{_PUBLISH}::test_an_envelope_names_the_subscription_that_the_rest_api_has_made",
            f"{_ENDPOINTS}::test_a_notification_is_signed_and_has_headers",
        ),
    ),
    Mutant(
        "envelopes_have_the_default_region",
        "Consumers do not know the topic of an envelope by its ARN.",
        "wonderq/sns/envelope.py",
        "sns.get(REGION, DEFAULT_REGION)",
        "DEFAULT_REGION",
        (f"{_PUBLISH}::test_an_envelope",),
    ),
]
