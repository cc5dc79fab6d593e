"""The noun `topic`: the topics of a running broker."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, cast

from wonderq.cli.arguments import Parser, Run, Verbs, add_json_option, add_verbs, add_yes_option, text_from
from wonderq.cli.client_options import (
    add_broker_verb,
    add_fields,
    client_from,
    fields_from,
    json_or_text,
    name_from,
    pair_from,
)
from wonderq.cli.confirmation import confirm
from wonderq.cli.exit_codes import OK
from wonderq.cli.listings import listed
from wonderq.cli.output import print_lines, print_result, write_json
from wonderq.terminal import table

if TYPE_CHECKING:  # the client is loaded by the commands that call a broker, when they run
    from wonderq.client.fields import MessageOptions
    from wonderq.client.topics import SubscriptionFields, TopicSettings


_topic_name = name_from("the name of a topic is 1 to 256 characters of A-Z a-z 0-9 _ and -, optionally ending in .fifo")
_subscription_name = name_from("the name of a subscription is 1 to 80 characters of A-Z a-z 0-9 _ and -")


def topic(noun: Parser) -> None:
    """Describe `wonderq topic`."""
    verbs = add_verbs(
        noun,
        "Create topics, subscribe queues to them, and publish messages. Each queue that has subscribed to a topic, and "
        "whose filter matches, gets what is published to it.",
    )
    command = add_broker_verb(verbs, "list", _list, "list the topics", "List the topics that the key opens.")
    add_json_option(command, "one JSON object per topic")
    _add_verb(verbs, "show", _show, "show a topic", "Print a topic and its subscriptions.")
    for add in (_add_set, _add_delete, _add_subscribe, _add_unsubscribe, _add_publish, _add_match):
        add(verbs)


def _add_verb(
    verbs: Verbs, name: str, run: Run, summary: str, description: str, *, prints: str = "one JSON object"
) -> Parser:
    command = add_broker_verb(verbs, name, run, summary, description)
    command.add_argument("topic", metavar="TOPIC", type=_topic_name, help="name of the topic")
    add_json_option(command, prints)
    return command


def _list(options: argparse.Namespace) -> int:
    from wonderq.client import topics  # noqa: PLC0415

    with client_from(options) as client:
        found = listed(client, topics.topics, "topic")
        if options.json:
            write_json(found)
            return OK
        rows = [(each["topic"], *(f"{each[name]:,}" for name in ("subscriptions", "published"))) for each in found]
    print_lines(table([("TOPIC", "SUBSCRIPTIONS", "PUBLISHED"), *rows]))
    return OK


def _show(options: argparse.Namespace) -> int:
    from wonderq.client import topics  # noqa: PLC0415

    with client_from(options) as client:
        found = client.do(topics.info(options.topic).as_json())
        subscriptions = listed(client, lambda after: topics.subscriptions(options.topic, after), "subscription")
        found["subscriptions"] = list(subscriptions)
    print_result(found, as_json=options.json)
    return OK


def _add_set(verbs: Verbs) -> None:
    command = _add_verb(
        verbs,
        "set",
        _set,
        "create a topic, or change its settings",
        "Create a topic if it is missing, change the given settings, and print it: 'wonderq topic set orders "
        "deduplication_window=60'.",
    )
    add_fields(command, "settings", "docs/TOPICS.md")


def _set(options: argparse.Namespace) -> int:
    from wonderq.client import topics  # noqa: PLC0415

    settings = cast("TopicSettings", fields_from(options.fields))
    with client_from(options) as client:
        found = client.do(topics.configure(options.topic, settings).as_json())
    print_result(found, as_json=options.json)
    return OK


def _add_delete(verbs: Verbs) -> None:
    command = _add_verb(
        verbs,
        "delete",
        _delete,
        "delete a topic",
        "Delete a topic and its subscriptions. Messages that were published to it stay in the queues.",
    )
    add_yes_option(command)


def _delete(options: argparse.Namespace) -> int:
    with client_from(options) as client:
        confirm(options, f"delete the topic {options.topic} and its subscriptions")
        client.topic(options.topic).drop()
    if options.json:
        write_json([{"topic": options.topic, "deleted": True}])
    return OK


def _add_subscription(command: Parser) -> None:
    command.add_argument("subscription", metavar="NAME", type=_subscription_name, help="name of the subscription")


def _add_subscribe(verbs: Verbs) -> None:
    command = _add_verb(
        verbs,
        "subscribe",
        _subscribe,
        "subscribe a queue or an HTTP endpoint to a topic, or change a subscription",
        "Subscribe a queue or an HTTP endpoint to a topic, or change the given fields of a subscription, and print it: "
        '\'wonderq topic subscribe orders mail queue=mail filter={"kind":["paid"]} when_full=skip\'. '
        "With --endpoint, the object has the secret that signs the requests, once.",
    )
    _add_subscription(command)
    add_fields(command, "fields", "docs/TOPICS.md")
    command.add_argument(
        "--endpoint", metavar="URL", type=text_from, help="URL to which the broker delivers the messages"
    )


def _subscribe(options: argparse.Namespace) -> int:
    from wonderq.client import topics  # noqa: PLC0415

    given = fields_from(options.fields)
    if options.endpoint is not None:
        given["endpoint"] = options.endpoint
    fields = cast("SubscriptionFields", given)
    with client_from(options) as client:
        made = client.do(topics.subscribe(options.topic, options.subscription, None, fields).as_json())
    print_result(made, as_json=options.json)
    return OK


def _add_unsubscribe(verbs: Verbs) -> None:
    command = _add_verb(
        verbs,
        "unsubscribe",
        _unsubscribe,
        "delete a subscription",
        "Delete a subscription. Messages that its queue has got stay there.",
    )
    _add_subscription(command)
    add_yes_option(command)


def _unsubscribe(options: argparse.Namespace) -> int:
    with client_from(options) as client:
        confirm(options, f"delete the subscription {options.subscription} of the topic {options.topic}")
        client.topic(options.topic).unsubscribe(options.subscription)
    if options.json:
        write_json([{"topic": options.topic, "subscription": options.subscription, "deleted": True}])
    return OK


def _add_message_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--attribute",
        dest="attributes",
        metavar="NAME=TEXT",
        type=pair_from,
        action="append",
        help="attribute of the message; repeatable. A number is one: n=5",
    )
    command.add_argument("--group", metavar="NAME", type=text_from, help="group of the message")


def _message_options(options: argparse.Namespace) -> MessageOptions:
    from wonderq.client.fields import given_options  # noqa: PLC0415

    attributes = {name: _number(text) for name, text in options.attributes or ()}
    return given_options(attributes=attributes or None, group=options.group)


def _number(text: str) -> str | float:
    """Return the value of an attribute: a number if the text is one, because filters tell them apart."""
    value = json_or_text(text)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else text


def _add_publish(verbs: Verbs) -> None:
    command = _add_verb(
        verbs,
        "publish",
        _publish,
        "publish messages",
        "Publish messages to all queues that have subscribed and whose filter matches, all in one step, and print the "
        "id of each and the number of queues that have it.",
        prints="one JSON object per message",
    )
    command.add_argument(
        "messages", metavar="MESSAGE", nargs="+", type=text_from, help="a message; put -- before one that begins with -"
    )
    command.add_argument(
        "--idempotency-key",
        metavar="TEXT",
        type=text_from,
        help="key of the messages: a second publish with it adds nothing",
    )
    _add_message_options(command)


def _publish(options: argparse.Namespace) -> int:
    message_options = _message_options(options)
    with client_from(options) as client:
        done = client.topic(options.topic).publish_together(
            [(text, message_options) for text in options.messages], key=options.idempotency_key
        )
    if options.json:
        write_json(done)
    else:
        print_lines(f"{each.id}\t{each.queues}" for each in done)
    return OK


def _add_match(verbs: Verbs) -> None:
    command = _add_verb(
        verbs,
        "match",
        _match,
        "try which subscriptions match a message",
        "Print for each subscription whether its queue would get a message, or why not. Nothing is published.",
        prints="one JSON object per subscription",
    )
    command.add_argument("message", metavar="MESSAGE", type=text_from, help="text of the message")
    _add_message_options(command)


def _match(options: argparse.Namespace) -> int:
    with client_from(options) as client:
        found = client.topic(options.topic).match(options.message, **_message_options(options))
    if options.json:
        write_json(found)
        return OK
    rows = [(each.subscription, each.queue, each.reason or "gets the message") for each in found]
    print_lines(table([("SUBSCRIPTION", "QUEUE", "OUTCOME"), *rows], texts=3))
    return OK
