# Wrong usage, help, version, man pages and completion: output and exit codes.
. "$(dirname "$0")/lib.sh"

refused 2 "unknown command 'doctr': did you mean 'doctor'?" doctr
refused 2 "unknown command 'xyzzy'" xyzzy
refused 2 "the command comes first" --json doctor
refused 2 "unknown option '--jsno': did you mean '--json'?" doctor --jsno
refused 2 "unknown option '--frobnicate'" doctor --frobnicate
refused 2 "unknown option '-Z'" doctor -Z
refused 2 "--threads takes a whole number from 0 to 512, not 'many'" doctor --threads many
refused 2 "--threads takes a whole number from 0 to 512, not '99999999999999999999'" doctor -t99999999999999999999
refused 2 "--threads needs a value" doctor --threads
refused 2 "--color takes one of" doctor --color=pink
refused 2 "--quiet takes true or false" doctor --quiet=perhaps
refused 2 "one operand too many: 'left'" doctor left
refused 2 "one operand too many: '--json'" doctor -- --json
refused 2 "missing operand" completion
refused 2 "unknown shell 'tcsh'" completion tcsh
refused 2 "unknown command 'nothing'" help nothing
refused 2 "unknown command 'runn': did you mean 'run'?" help runn
refused 1 "cannot write '$WORK/no/tern.1'" help --man-dir "$WORK/no"

run 2
grep -q '^Usage: tern COMMAND' "$WORK/err" || bad "tern alone does not say how it is used"
run 0 --version
printed "tern "
run 0 --help
printed "Usage: tern COMMAND"
run 0 doctor -q --threads=1 -t2 --color never --json
printed '"threads"'

# every command explains itself, has an example, and a man page that groff reads without a warning
mkdir "$WORK/man"
run 0 help --man-dir "$WORK/man"
grep -q "TERN_ISA" "$WORK/man/tern.1" || bad "tern(1) does not name the environment"
commands=$("$TERN" help | sed -n '/^Commands:/,/^$/p' | awk 'NR > 1 && NF { print $1 }')
[ -n "$commands" ] || bad "tern help lists no commands"
for command in $commands; do
    run 0 "$command" --help
    printed "Usage: tern $command"
    printed "Example:"
    printed "tern $command"
    for option in --help --version --quiet --threads --color; do printed "$option"; done
    [ "$(awk 'length > 120' "$WORK/out" | wc -l)" = 0 ] || bad "tern $command --help has lines over 120 columns"
    page=$WORK/man/tern-$command.1
    [ -s "$page" ] || bad "no man page of $command"
    if command -v groff >/dev/null; then
        groff -man -Tascii -ww "$page" >/dev/null 2>"$WORK/err"
        [ ! -s "$WORK/err" ] || bad "groff on tern-$command.1: $(head -1 "$WORK/err")"
    fi
done

# completion knows every command; bash reads its script and completes
for shell in bash zsh fish; do
    run 0 completion $shell
    for command in $commands; do printed "$command"; done
done
got=$(bash -c 'eval "$("$1" completion bash)"; COMP_WORDS=(tern doctor --js); COMP_CWORD=2; _tern; echo "${COMPREPLY[*]}"' - "$TERN")
[ "$got" = "--json" ] || bad "bash completed 'tern doctor --js' to '$got'"
got=$(bash -c 'eval "$("$1" completion bash)"; COMP_WORDS=(tern doctor --color n); COMP_CWORD=3; _tern; echo "${COMPREPLY[*]}"' - "$TERN")
[ "$got" = "never" ] || bad "bash completed 'tern doctor --color n' to '$got'"
if command -v zsh >/dev/null; then
    "$TERN" completion zsh >"$WORK/_tern"
    zsh -n "$WORK/_tern" || bad "zsh does not read its script"
fi
if command -v fish >/dev/null; then
    "$TERN" completion fish >"$WORK/tern.fish"
    fish -n "$WORK/tern.fish" || bad "fish does not read its script"
fi

# a level that the machine lacks is refused, not replaced by the slow reference
for level in garbage AVX2 scalar,; do
    TERN_ISA=$level "$TERN" doctor >"$WORK/out" 2>"$WORK/err" </dev/null
    [ $? = 2 ] && grep -q "TERN_ISA is '$level'; this machine has scalar" "$WORK/err" || bad "TERN_ISA=$level: $(cat "$WORK/err")"
done
TERN_ISA=scalar run 0 doctor
TERN_ISA='' run 0 doctor

# a full disk is an error
if [ -w /dev/full ]; then
    "$TERN" doctor >/dev/full 2>"$WORK/err"
    [ $? = 1 ] || bad "writing to a full disk does not fail"
    grep -q "cannot write standard output" "$WORK/err" || bad "a full disk is not named: $(cat "$WORK/err")"
fi
finish
