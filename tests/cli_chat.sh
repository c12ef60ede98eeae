# tern chat: from a pipe, and in a terminal (a pseudo-terminal made by python3) with resizes and Ctrl-C.
. "$(dirname "$0")/lib.sh"
D=$DATA/models-stories260k
if [ ! -r "$D/stories260K.bin" ]; then
    echo "SKIP: stories260K is not there"
    exit 77
fi
M="-m $D/stories260K.bin --tokenizer $D/tok512.bin --template chatml"
export XDG_STATE_HOME=$WORK/state HOME=$WORK

# from a pipe: each line a message, answers on standard output, nothing else
checks=$((checks + 1))
printf 'Hello\n\n/stats\nAgain\\\nand again\n/nonsense\n/save %s\n' "$WORK/talk.json" | "$TERN" chat $M -n 10 --greedy >"$WORK/out" 2>"$WORK/err" || bad "chat from a pipe fails: $(cat "$WORK/err")"
[ -s "$WORK/out" ] || bad "no answers"
grep -q "messages 2," "$WORK/err" || bad "/stats: $(cat "$WORK/err")"
grep -q "unknown command '/nonsense'" "$WORK/err" || bad "/nonsense is taken"
grep -q "saved 4 messages" "$WORK/err" || bad "/save: $(cat "$WORK/err")"
grep -q '"content": "Again\\nand again"' "$WORK/talk.json" || bad "a continued line: $(cat "$WORK/talk.json")"

# a conversation that was loaded goes on as if it had not been left
printf '/load %s\nThird\n' "$WORK/talk.json" | "$TERN" chat $M -q -n 10 --greedy >"$WORK/loaded" 2>"$WORK/err" || bad "/load fails: $(cat "$WORK/err")"
printf 'Hello\nAgain\\\nand again\nThird\n' | "$TERN" chat $M -q -n 10 --greedy >"$WORK/out" 2>"$WORK/err"
tail -c "$(wc -c <"$WORK/loaded")" "$WORK/out" | cmp -s - "$WORK/loaded" || bad "a loaded conversation gives another answer"
printf '/load %s\n/load %s\n/exit\nnever\n' "$WORK/none.json" "$SOURCE/docs/add-a-command.md" | "$TERN" chat $M -n 10 >"$WORK/out" 2>"$WORK/err" || bad "bad files end the chat"
[ "$(wc -l <"$WORK/err")" = 2 ] && [ ! -s "$WORK/out" ] || bad "bad files: $(cat "$WORK/err")"

# a conversation longer than the context forgets its beginning and goes on
for i in $(seq 30); do echo "This is message number $i of a long conversation"; done |
    "$TERN" chat $M --ctx 256 -n 20 >"$WORK/out" 2>"$WORK/err" || bad "a long conversation fails: $(cat "$WORK/err")"
grep -q "the oldest messages are forgotten" "$WORK/err" || bad "nothing is forgotten"
grep -q "^tern chat:" "$WORK/err" && bad "a long conversation complains: $(grep -m1 '^tern chat:' "$WORK/err")"
refused 1 "no template and no file is called 'nosuch'; known are chatml" chat -m "$D/stories260K.bin" --template nosuch

if ! command -v python3 >/dev/null; then
    echo "SKIP: no python3 for the terminal test"
    finish
fi
checks=$((checks + 1))
edit=$("$TERN" doctor | grep -c "libedit     yes")
EDIT=$edit python3 - "$TERN" $M <<'PYTHON' || bad "in a terminal"
import fcntl, os, pty, re, select, signal, struct, sys, termios, time

pid, fd = pty.fork()
if pid == 0:
    os.environ["TERM"] = "xterm"
    os.execv(sys.argv[1], [sys.argv[1], "chat", *sys.argv[2:], "--ignore-eos", "--context-end", "shift"])
seen = b""


def wait_for(what, seconds=60):
    """Everything up to the next place where `what` appears."""
    global seen
    end = time.time() + seconds
    while True:
        m = re.search(what, seen)
        if m:
            before, seen = seen[:m.end()], seen[m.end():]
            return before
        if time.time() > end:
            sys.exit("no %r within %d s; the terminal shows %r" % (what, seconds, seen[-500:]))
        if select.select([fd], [], [], 0.2)[0]:
            try:
                seen += os.read(fd, 65536)
            except OSError:
                sys.exit("it ended; the terminal shows %r" % seen[-500:])


def resize(rows, columns):
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    os.kill(pid, signal.SIGWINCH)
    time.sleep(0.2)


resize(24, 80)
wait_for(rb"> ")
os.write(fd, b"/help\n")
wait_for(rb"/stats")
wait_for(rb"> ")
os.write(fd, b"Tell me a ")
wait_for(rb"Tell me a ")
resize(10, 20)                      # while a line is typed
if os.environ["EDIT"] == "1":
    wait_for(rb"\r> Tell me a ")      # drawn again over the line, not behind it
os.write(fd, b"story\n")
wait_for(rb"story\r")
wait_for(rb"[a-z]{2}")               # the answer has begun
resize(50, 132)                     # while an answer is written
os.write(fd, b"\x03")               # an endless answer: Ctrl-C stops it, not the program
wait_for(rb"stopped")
wait_for(rb"> ")
os.write(fd, b"never mind")
wait_for(rb"never mind")            # the line editor listens: what it is told now is not lost
os.write(fd, b"\x03")               # Ctrl-C throws a line away
wait_for(rb"> ")
os.write(fd, b"/stats\n")
text = wait_for(rb"wrote (\d+) tokens")
assert b"messages 2" in text, text
wait_for(rb"> ")
end = time.time() + 30
pressed = 0
while time.time() < end:
    if time.time() - pressed > 3:       # Ctrl-D leaves; one typed before the line editor listens belongs to nobody
        os.write(fd, b"\x04")
        pressed = time.time()
    if select.select([fd], [], [], 0.1)[0]:
        try:
            seen += os.read(fd, 65536)
        except OSError:
            pass
    done, status = os.waitpid(pid, os.WNOHANG)
    if done:
        sys.exit(0 if status == 0 else "it ended with status %d" % status)
os.kill(pid, signal.SIGKILL)
sys.exit("Ctrl-D does not leave; the terminal shows %r" % seen[-500:])
PYTHON
if [ "$edit" = 1 ]; then
    grep -q "Tell" "$WORK/state/tern/history" || bad "no history in $WORK/state/tern"
fi

# a model that becomes shorter while it is used ends the program with a line, not with a crash
cp "$D/stories260K.bin" "$WORK/short.bin"
mkfifo "$WORK/lines"
"$TERN" chat -m "$WORK/short.bin" --tokenizer "$D/tok512.bin" --template chatml -n 5 <"$WORK/lines" >"$WORK/out" 2>"$WORK/err" &
pid=$!
exec 7>"$WORK/lines"
echo /stats >&7
for i in $(seq 200); do
    grep -q messages "$WORK/err" && break
    sleep 0.05
done
truncate -s 1000 "$WORK/short.bin"
echo Hello >&7
exec 7>&-
wait $pid
code=$?
[ $code = 1 ] && grep -q "became shorter" "$WORK/err" || bad "a model cut while it is used: code $code, $(cat "$WORK/err")"
finish
