"""The server of the page on which digits are drawn, for tests, and what they ask it."""

import contextlib
import http.client
import json
import threading

from handwriting.collect import HOST, CollectConfig, CollectServer

SEVEN = [[0.25, 0.2, 0], [0.7, 0.2, 0], [0.4, 0.8, 1], [0.3, 0.5, 0], [0.6, 0.5, 1]]


@contextlib.contextmanager
def serving(path):
    with CollectServer(CollectConfig(path, port=0)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def ask(server, method, target, body=None, **headers):
    """(status, answer); headers replace the usual ones, None leaves them out."""
    connection = http.client.HTTPConnection(HOST, server.server_port, timeout=10)
    usual = {"Host": f"localhost:{server.server_port}", "Content-Type": "application/json"}
    if body is not None:
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        usual["Content-Length"] = str(len(body))
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    with contextlib.closing(connection):
        connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        for name, value in {**usual, **given}.items():
            if value is not None:
                connection.putheader(name, value)
        connection.endheaders(body)
        response = connection.getresponse()
        content = response.read()
    if response.headers.get_content_type() == "application/json":
        content = json.loads(content)
    return response.status, content
