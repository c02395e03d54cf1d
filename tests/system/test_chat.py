"""massv chat: through a pipe, and through a terminal with its keys."""
import os
import pty
import re
import select
import signal
import time

import pytest

from harness import BIN, ENVIRONMENT, GOLDEN, MODELS, PICTURES, START_S, massv, service

SCENE, OTHER = PICTURES / "scene-00002.png", PICTURES / "scene-00001.png"
QUESTION, LIST = "What can you see in this picture?", "Make a list of the things you see."


@pytest.fixture(scope="module")
def client():
    with service(MODELS / "scenes-large", "--drafter", MODELS / "scenes-massv") as running:
        yield running


def conversation(client, *turns, pictures=()):
    """The answer to the last of turns, which begin with the user's, as the API gives it; pictures: of each user's turn."""
    request = client.request("x", penalty=None, temperature=None)
    del request.conversation.turns[:]
    for i, text in enumerate(turns):
        turn = request.conversation.turns.add(role="assistant" if i % 2 else "user")
        for picture in pictures[i // 2] if i % 2 == 0 and i // 2 < len(pictures) else []:
            turn.parts.add(picture=True)
            request.media.add(raw_bytes=picture.read_bytes())
        turn.parts.add(text=text)
    return "".join(e.token.text for e in client.inference.Generate(request, timeout=60))


def test_a_piped_conversation_keeps_its_history_and_pictures(client):
    first = conversation(client, QUESTION, pictures=[[SCENE]])
    second = conversation(client, QUESTION, first, LIST, pictures=[[SCENE]])
    third = conversation(client, QUESTION, first, LIST, second, QUESTION, pictures=[[SCENE], [], [OTHER]])
    alone = conversation(client, QUESTION, pictures=[[OTHER]])
    assert len({first, second, third}) == 3
    lines = [QUESTION, "", LIST, f"/image {OTHER}", QUESTION, "/clear", f"/image {OTHER}", QUESTION]
    done = massv("chat", "--address", client.address, "--image", SCENE, input="\n".join(lines))
    assert done.returncode == 0 and done.stdout == "".join(t + "\n" for t in (first, second, third, alone)), done.stderr
    assert f"{OTHER} goes with the next message" in done.stderr and "the conversation is forgotten" in done.stderr


def test_a_message_that_is_refused_is_forgotten(client):
    answer = conversation(client, QUESTION)
    lines = ["many words " * 4000, "/image nowhere.png", f"/image {__file__}", "x", "/fly", "/image", QUESTION, "/quit", QUESTION]
    done = massv("chat", "--address", client.address, input="\n".join(lines) + "\n")
    assert done.returncode == 0 and done.stdout == answer + "\n", done.stderr
    said = done.stderr.splitlines()
    assert "INVALID_ARGUMENT" in said[0] and "forgotten" in said[0]
    assert said[1].startswith("nowhere.png: ") and f"{__file__}: media[0]" in said[3]
    assert said[4:] == ["/fly is not known; /help lists what is", "/image FILE: which file?"]


def test_nobody_at_the_address_is_said_and_the_chat_goes_on():
    done = massv("chat", "--address", "127.0.0.1:9", input="x\n/help\n")
    assert done.returncode == 0 and done.stdout == ""
    assert "127.0.0.1:9: UNAVAILABLE" in done.stderr and "/clear" in done.stderr


class Terminal:
    """massv chat with a terminal around it."""

    def __init__(self, *arguments):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execve(BIN / "massv", ["massv", "chat", *map(str, arguments)], {**ENVIRONMENT, "TERM": "dumb"})
        self.screen, self.seen = "", 0

    def type(self, text):
        os.write(self.fd, text.encode())

    def wait(self, pattern):
        """What is shown after the last wait, up to the pattern."""
        until = time.monotonic() + START_S
        while not (found := re.compile(pattern, re.S).search(self.screen, self.seen)):
            assert time.monotonic() < until, self.screen
            if select.select([self.fd], [], [], 1)[0]:
                self.screen += os.read(self.fd, 4096).decode(errors="replace").replace("\r\n", "\n")
        before, self.seen = self.screen[self.seen:found.start()], found.end()
        return before

    def end(self):
        """The exit status; what is still written is read away."""
        until = time.monotonic() + START_S
        while time.monotonic() < until:
            if select.select([self.fd], [], [], 0.1)[0]:
                try:
                    self.screen += os.read(self.fd, 4096).decode(errors="replace")
                except OSError:
                    break  # nobody has the other side any more
        status = os.waitpid(self.pid, 0)[1]
        os.close(self.fd)
        return os.waitstatus_to_exitcode(status)


def test_a_terminal_shows_a_prompt_and_ends_with_control_d(client):
    answer = conversation(client, QUESTION, pictures=[[SCENE]])
    terminal = Terminal("--address", client.address, "--image", SCENE)
    terminal.wait("> ")
    terminal.type(QUESTION + "\n")
    terminal.wait(re.escape(QUESTION) + "\n")  # the terminal's echo
    assert terminal.wait("\n> ") == answer
    terminal.type("/he\x7flp\n")  # a typing error, taken back
    terminal.wait("/hlp is not known")
    terminal.wait("> ")
    terminal.type("\x04")
    assert terminal.end() == 0


def test_control_c_cancels_the_answer_and_the_chat_goes_on():
    with service(GOLDEN / "qwen25vl-tiny") as tiny:  # which never ends by itself, and takes a second for 4,000 tokens
        terminal = Terminal("--address", tiny.address, "--max-tokens", "4000")
        terminal.wait("> ")
        terminal.type("half a line\x03")
        terminal.wait("\n> ")
        terminal.type("Tell a story.\n")
        terminal.wait(re.escape("story.\n") + ".")  # the answer has begun
        terminal.type("\x03")
        terminal.wait(re.escape(" [cancelled]\n> "))
        info, until = tiny.pb.GetServerInfoRequest(), time.monotonic() + 20
        while tiny.control.GetServerInfo(info).running and time.monotonic() < until:
            time.sleep(0.02)
        assert tiny.control.GetServerInfo(info).running == 0
        terminal.type("/quit\n")
        assert terminal.end() == 0


def test_sigterm_ends_the_chat(client):
    terminal = Terminal("--address", client.address)
    terminal.wait("> ")
    os.kill(terminal.pid, signal.SIGTERM)
    assert terminal.end() == 0
