"""Commands for topics of a running broker: `wonderq topic ...`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, cast

import msgspec

from wonderq.cli.arguments import OK, Subparsers, add_command, text_from
from wonderq.cli.client_options import add_broker_command, client_from, json_or_text, name_from, pair_from
from wonderq.cli.output import print_lines, print_object, write_json
from wonderq.terminal import table

if TYPE_CHECKING:  # the client is loaded by the commands that call a broker, when they run
    from wonderq.client.fields import MessageOptions
    from wonderq.client.topics import SubscriptionFields, TopicSettings


_topic_name = name_from("the name of a topic is 1 to 256 characters of A-Z a-z 0-9 _ and -, optionally ending in .fifo")
_subscription_name = name_from("the name of a subscription is 1 to 80 characters of A-Z a-z 0-9 _ and -")


def add_to(subparsers: Subparsers) -> None:
    """Add the commands of this module."""
    command = add_command(
        subparsers,
        "topic",
        None,
        "create topics, subscribe queues, publish",
        "Create topics, subscribe queues to them, and publish messages. Each queue that has subscribed to a topic, and "
        "whose filter matches, gets what is published to it.",
    )
    subcommands = command.add_subparsers(required=True, metavar="COMMAND", title="commands")
    for add in (
        _add_list,
        _add_show,
        _add_set,
        _add_delete,
        _add_subscribe,
        _add_unsubscribe,
        _add_publish,
        _add_match,
    ):
        add(subcommands)


def _add_topic(command: argparse.ArgumentParser) -> None:
    command.add_argument("topic", metavar="TOPIC", type=_topic_name, help="name of the topic")


def _add_list(subparsers: Subparsers) -> None:
    command = add_broker_command(subparsers, "list", _list, "list the topics", "List the topics that the key opens.")
    command.add_argument("--json", action="store_true", help="print one JSON object per topic")


def _list(options: argparse.Namespace) -> int:
    with client_from(options) as client:
        found = client.topics()
    if options.json:
        write_json(msgspec.to_builtins(each) for each in found)
        return OK
    rows = [(each.name, str(each.subscriptions), str(each.published)) for each in found]
    print_lines(table([("topic", "subscriptions", "published"), *rows]))
    return OK


def _add_show(subparsers: Subparsers) -> None:
    command = add_broker_command(
        subparsers, "show", _show, "show a topic", "Print a topic and its subscriptions as a JSON object."
    )
    _add_topic(command)


def _show(options: argparse.Namespace) -> int:
    with client_from(options) as client:
        topic = client.topic(options.topic)
        found = msgspec.to_builtins(topic.info()) | {"subscriptions": msgspec.to_builtins(topic.subscriptions())}
    print_object(found)
    return OK


def _add_set(subparsers: Subparsers) -> None:
    command = add_broker_command(
        subparsers,
        "set",
        _set,
        "create a topic, or change its settings",
        "Create a topic if it is missing, change the given settings, and print it as a JSON object: 'wonderq topic set "
        "orders deduplication_window=60'. docs/TOPICS.md lists the settings.",
    )
    _add_topic(command)
    command.add_argument("settings", metavar="SETTING=VALUE", nargs="*", type=pair_from)


def _set(options: argparse.Namespace) -> int:
    # The broker checks names and types: a setting may be newer than this command.
    settings = cast("TopicSettings", {name: json_or_text(value) for name, value in options.settings})
    with client_from(options) as client:
        print_object(msgspec.to_builtins(client.topic(options.topic).configure(**settings)))
    return OK


def _add_delete(subparsers: Subparsers) -> None:
    command = add_broker_command(
        subparsers,
        "delete",
        _delete,
        "delete a topic",
        "Delete a topic and its subscriptions. Messages that were published to it stay in the queues.",
    )
    _add_topic(command)


def _delete(options: argparse.Namespace) -> int:
    with client_from(options) as client:
        client.topic(options.topic).drop()
    return OK


def _add_subscribe(subparsers: Subparsers) -> None:
    command = add_broker_command(
        subparsers,
        "subscribe",
        _subscribe,
        "subscribe a queue or an HTTP endpoint to a topic, or change a subscription",
        "Subscribe a queue or an HTTP endpoint to a topic, or change the given fields of a subscription, and print it "
        'as a JSON object: \'wonderq topic subscribe orders mail queue=mail filter={"kind":["paid"]} when_full=skip\'. '
        "With --endpoint, the object has the secret that signs the requests, once. docs/TOPICS.md lists the fields.",
    )
    _add_topic(command)
    command.add_argument("subscription", metavar="NAME", type=_subscription_name, help="name of the subscription")
    command.add_argument("fields", metavar="FIELD=VALUE", nargs="*", type=pair_from)
    command.add_argument(
        "--endpoint", metavar="URL", type=text_from, help="URL to which the broker delivers the messages"
    )


def _subscribe(options: argparse.Namespace) -> int:
    given = {name: json_or_text(value) for name, value in options.fields}
    if options.endpoint is not None:
        given["endpoint"] = options.endpoint
    fields = cast("SubscriptionFields", given)
    with client_from(options) as client:
        made = client.topic(options.topic).subscribe(options.subscription, **fields)
    print_object(msgspec.to_builtins(made))
    return OK


def _add_unsubscribe(subparsers: Subparsers) -> None:
    command = add_broker_command(
        subparsers,
        "unsubscribe",
        _unsubscribe,
        "delete a subscription",
        "Delete a subscription. Messages that its queue has got stay there.",
    )
    _add_topic(command)
    command.add_argument("subscription", metavar="NAME", type=_subscription_name, help="name of the subscription")


def _unsubscribe(options: argparse.Namespace) -> int:
    with client_from(options) as client:
        client.topic(options.topic).unsubscribe(options.subscription)
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


def _add_publish(subparsers: Subparsers) -> None:
    command = add_broker_command(
        subparsers,
        "publish",
        _publish,
        "publish messages",
        "Publish messages to all queues that have subscribed and whose filter matches, all in one step, and print the "
        "id of each and the number of queues that have it.",
    )
    _add_topic(command)
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
    print_lines([f"{each.id}\t{each.queues}" for each in done])
    return OK


def _add_match(subparsers: Subparsers) -> None:
    command = add_broker_command(
        subparsers,
        "match",
        _match,
        "try which subscriptions match a message",
        "Print for each subscription whether its queue would get a message, or why not. Nothing is published.",
    )
    _add_topic(command)
    command.add_argument("message", metavar="MESSAGE", type=text_from, help="text of the message")
    _add_message_options(command)


def _match(options: argparse.Namespace) -> int:
    with client_from(options) as client:
        found = client.topic(options.topic).match(options.message, **_message_options(options))
    rows = [(each.subscription, each.queue, each.reason or "gets the message") for each in found]
    print_lines(table([("subscription", "queue", "outcome"), *rows], texts=3))
    return OK
