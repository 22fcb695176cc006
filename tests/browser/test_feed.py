"""The feed in a real browser, on a page of another site: EventSource with a ticket, and without one."""

from __future__ import annotations

import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from support.cloud_batches import Sender, columns, roster
from support.cloud_process import Process

PAGE = """<!doctype html><title>A console of somebody's own</title>
<script>
let token;
function said(kind, what) { document.title = kind; (window.told ||= []).push([kind, what]); }
async function open_feed(url, after) {
  const made = await fetch(url + "/v1/tickets", {method: "POST", headers: {Authorization: "Bearer " + token}});
  if (!made.ok) return said("refused", made.status);
  const {ticket} = await made.json();
  const source = new EventSource(`${url}/v1/feed?ticket=${ticket}&after=${after}&type=roster`);
  source.onmessage = event => said("event", JSON.parse(event.data).type);
  source.onerror = () => { if (source.readyState === EventSource.CLOSED) said("closed", source.url); };
  return source;
}
</script>"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A page at an address of its own."""
    directory = tmp_path_factory.mktemp("site")
    (directory / "index.html").write_text(PAGE)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=str(directory))
    ) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    with chromium.new_context() as context:
        yield context.new_page()


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Process]:
    process = Process(tmp_path)
    yield process
    process.close()


def start(cloud: Process, page: Page, site: str, *options: str) -> None:
    cloud.start("--readers", "1", "--readers-port", "0", *options)
    assert cloud.push(Sender().batch(roster(), columns(n=1)))[0] == 200
    page.goto(site)
    page.evaluate("given => { token = given }", cloud.token("reader"))


def test_a_page_of_an_allowed_site_follows_the_feed(page: Page, site: str, cloud: Process) -> None:
    start(cloud, page, site, "--cors-origin", site)
    for url in (cloud.url, cloud.readers_url):
        page.evaluate("async url => { window.told = []; await open_feed(url, 0) }", url)
        page.wait_for_function("told.length > 0", timeout=60_000)
        assert page.evaluate("told[0]") == ["event", "city.lamplighter.roster"]
        # What EventSource would do by itself, had its connection ended: the same address again. It is told, and ends.
        page.evaluate(
            """async url => {
            window.told = [];
            const source = await open_feed(url, 0);
            await new Promise(done => source.addEventListener("open", done));
            const again = new EventSource(source.url);
            again.onerror = () => said("again", again.readyState);
        }""",
            url,
        )
        page.wait_for_function("told.some(([kind]) => kind === 'again')", timeout=60_000)
        assert page.evaluate("told.find(([kind]) => kind === 'again')[1]") == 2  # CLOSED
    etag = """async ([url, token]) => {
        const answer = await fetch(url + "/v1/latest", {headers: {Authorization: "Bearer " + token}});
        return answer.headers.get("etag");
    }"""
    assert page.evaluate(etag, [cloud.url, cloud.token("reader")])


def test_a_page_of_any_other_site_reads_nothing(page: Page, site: str, cloud: Process) -> None:
    start(cloud, page, site, "--cors-origin", "https://console.example.org")
    for url in (cloud.url, cloud.readers_url):
        failed = page.evaluate("url => open_feed(url, 0).then(() => 'opened', error => error.name)", url)
        assert failed == "TypeError"  # as fetch says it (WHATWG Fetch, 5.6)
