"""The parts of waitress that this package relies on although waitress does not document them.

`tests/http/test_waitress_parts.py` checks that the installed waitress has each part in this form, and that the package
uses no part that is missing here. To move to another minor version: compare its modules with those of `CHECKED_VERSION`
for everything in this table, run all tests, then change `CHECKED_VERSION` and the range in ``pyproject.toml``.
"""

from __future__ import annotations

#: Major and minor version that the table was checked with.
CHECKED_VERSION = "3.0"

PARTS: dict[str, dict[str, str]] = {
    "waitress.server.TcpWSGIServer": {
        "__init__(self, application, map=None, _start=True, _sock=None, dispatcher=None, adj=None, sockinfo=None, "
        "bind_socket=True, **kw)": "listens on the socket ``_sock``; makes `trigger`; wraps no application for these "
        "`Adjustments`",
        "add_task(self, task)": "passes a channel to the dispatcher",
        "run(self)": "replaced: waitress' loop polls every connection at each turn",
        "readable(self)": "replaced: counts connections against the limit, which `Server` does when it accepts",
        "writable(self)": "False for a listening socket",
        "handle_accept(self)": "replaced: accepts one connection, and without a limit per client",
        "set_socket_options(self, conn)": "sets TCP_NODELAY",
        "pull_trigger(self)": "replaced: wakes the thread that polls",
        "del_channel(self, map=None)": "removes the listening socket from `_map`",
        "channel_class": "replaced: called for each accepted connection",
        "accepting": "whether the socket listens",
        "active_channels": "open connections by file descriptor; each channel enters and removes itself",
        "adj": "the `Adjustments`",
        "effective_host": "the address that was bound",
        "effective_port": "the port that was bound",
        "server_name": "the name of this machine, for WSGI",
        "socket": "the listening socket, not blocking",
        "trigger": "a pipe in `_map`; a byte in it ends a poll",
        "_map": "dispatchers by file descriptor: this server, its trigger, its channels",
    },
    "waitress.channel.HTTPChannel": {
        "__init__(self, server, sock, addr, adj, map=None)": "enters itself in the map and in `server.active_channels`",
        "readable(self)": "False while a response is being sent, and with more requests than the look-ahead",
        "writable(self)": "True while something is to be sent, or the connection is to be closed",
        "handle_read(self)": "receives once and calls `received`; clears `connected` at the end of input",
        "handle_write(self)": "replaced: sends only large outputs while a request is being served",
        "handle_close(self)": "drops the output, clears `connected`, closes the socket, removes itself from the map",
        "received(self, data)": "feeds a parser; calls `server.add_task` for the first complete request",
        "service(self)": "runs a task for `requests[0]`, removes it, and calls `server.add_task` for the next",
        "write_soon(self, data)": "buffers output; sends it once it has `send_bytes`",
        "check_client_disconnected(self)": "whether `connected` is False",
        "_flush_some(self, do_close=True)": "sends output until the socket blocks; sets `last_activity` if it sent any",
        "_flush_exception(self, flush, do_close=True)": "calls `flush`; sets `will_close` if that raises",
        "_flush_outbufs_below_high_watermark(self)": "replaced: blocks the thread while much output is unsent",
        "logger": "replaced: logs requests that failed, with their paths",
        "parser_class": "replaced: called for each request, also for one that failed",
        "task_class": "replaced: runs the application",
        "error_task_class": "replaced: sends the response to a request with an `error`",
        "addr": "the client's address and port",
        "adj": "the `Adjustments`",
        "close_when_flushed": "set by `service` when the connection ends after this response",
        "connected": "False once the client has disconnected or the channel was closed",
        "creation_time": "time of the connection; equal to `last_activity` until something was received",
        "last_activity": "time of the last bytes received or sent, and of the end of a request",
        "request": "the parser of the request that is arriving, or None",
        "requests": "complete requests that have no response yet, in order",
        "server": "the server",
        "socket": "the client's socket, not blocking; None once it is closed",
        "total_outbufs_len": "number of bytes that are not sent yet",
        "will_close": "makes the channel writable so that `handle_write` closes it",
        "_fileno": "the file descriptor; None once it is closed",
    },
    "waitress.task.WSGITask": {
        "__init__(self, channel, request)": "sets the attributes below",
        "get_environment(self)": "replaced: returns the WSGI environment",
        "build_response_header(self)": "replaced: called once, before the first byte of a response",
        "has_body": "False for a status that forbids a body",
        "set_close_on_finish(self) -> None": "adds ``Connection: close``, and ends the connection after the response",
        "channel": "the channel",
        "request": "the parser",
        "chunked_response": "makes `write` send chunks",
        "content_length": "length of the body if the application set it or returned one block",
        "environ": "the WSGI environment once it was made",
        "response_headers": "pairs of name and value",
        "start_time": "time at which the task began",
        "status": "code and phrase",
        "version": "version of HTTP to respond with",
    },
    "waitress.task.ErrorTask": {
        "execute(self)": "replaced: sends a response in plain text",
        "write(self, data)": "sends the head, then the data",
    },
    "waitress.parser.HTTPRequestParser": {
        "__init__(self, adj)": "sets `headers` and `adj`",
        "received(self, data)": "replaced: returns the number of bytes that belong to this request",
        "get_body_stream(self)": "the body as a file, from `body_rcv`",
        "adj": "the `Adjustments`",
        "body_bytes_received": "number of bytes of the body so far, with the sizes of chunks",
        "body_rcv": "receiver of the body; None while the head arrives, and for a request without a body",
        "chunked": "whether the body is chunked",
        "command": "the method",
        "completed": "makes the channel serve the request",
        "content_length": "length of the body, if it is known",
        "error": "makes the channel use `error_task_class`",
        "expect_continue": "makes the channel send ``100 Continue``",
        "header_plus": "bytes of an incomplete head",
        "headers": "values by names in upper case with underscores; `service` and tasks read ``CONNECTION``",
        "headers_finished": "whether the head is complete",
        "path": "the decoded path; in the log message of a request that failed",
        "query": "the query string",
        "request_uri": "the request's target as sent",
        "url_scheme": "http",
        "version": "version of HTTP",
    },
    "waitress.receiver.FixedStreamReceiver": {
        "__init__(self, cl, buf)": "expects this number of bytes",
        "received(self, data)": "puts bytes into `buf`, and returns their number",
        "completed": "whether the body is complete",
        "remain": "number of bytes that have not arrived",
        "buf": "the buffer: has `append`, `getfile`, `close` and a length",
    },
    "waitress.buffers.OverflowableBuffer": {
        "__init__(self, overflow)": "moves to a temporary file when it has more bytes than this",
        "append(self, s)": "adds bytes at the end",
        "getfile(self)": "the content as a file, at its beginning",
    },
    "waitress.buffers.ReadOnlyFileBasedBuffer": {
        "__init__(self, file, block_size=32768)": "``wsgi.file_wrapper``, which WSGI allows an application to use",
    },
    "waitress.adjustments.Adjustments": {
        "backlog": "number of connections that may wait until they are accepted",
        "connection_limit": "number of connections",
        "inbuf_overflow": "size of a body that is kept in a file while it arrives",
        "outbuf_high_watermark": "number of unsent bytes at which a response waits",
        "send_bytes": "size of output that is sent at once; deprecated as an argument",
    },
    "waitress.trigger.trigger": {
        "pull_trigger(self, thunk=None)": "ends a poll; may be called from any thread and from a signal handler",
        "readable(self)": "True",
        "writable(self)": "False",
        "_fileno": "the file descriptor",
    },
    "waitress.wasyncore": {
        "readwrite(obj, flags)": "calls the handlers of a dispatcher for the events of a poll; closes it if they raise",
        "close_all(map=None, ignore_all=False)": "closes all dispatchers of a map",
    },
    "waitress.utilities": {
        "build_http_date(when)": "a time in the format of HTTP",
    },
}
"""By class or module: each function with its signature, each attribute by name, with the behaviour relied on."""
