#!/usr/bin/env python3
"""Breaks the cache in ways that matter and sees the simulation find each.

    tests/sim/mutations.py [--seeds 3000] [--build build] [name ...]

A proof that cannot fail proves nothing. Each mutation is an edit of one file in
a copy of the tree; the simulation is built from it and run until a seed fails.
Prints a table: the mutation, the first seed that finds it, what it says. Ends
with 1 when one is not found, or does not fit the code any more.
"""
import argparse
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
TREES = ("Makefile", "VERSION", "common", "gateway", "svc-auth", "svc-content",
         "svc-gdpr", "local", "tests", "deploy")
CACHE, LOAD, FLIGHT, FETCH = (f"common/cache/{f}.c"
                              for f in ("cache", "load", "flight", "fetch"))
REMOTE, TURN, REPLY = (f"common/cache/{f}.c"
                       for f in ("remote", "remote_turn", "remote_reply"))
CLIENTS = "tests/sim/cache_clients.c"

# name: (what is broken, file, text, what stands in for it)
MUTATIONS = {
    "marks": ("a value of the store is believed whatever its generations", REPLY,
              "if (a->epoch != b->epoch || a->gen_all != b->gen_all || a->n != b->n)\n"
              "\t\treturn false;",
              "if (a->n < 99)\n\t\treturn true;"),
    "late-marks": ("a load is compared with the forgettings after it began", LOAD,
                   "if (write && r->life.ttl_ms)\n\t\tfresh",
                   "j->f->marks = core_mark(j->c, &j->w);\n"
                   "\tif (write && r->life.ttl_ms)\n\t\tfresh"),
    "doomed": ("what is forgotten while it loads is kept", LOAD,
               "if (!wanted)\n", "if (wanted && !wanted)\n"),
    "eager-proof": ("in step before the generations are read", TURN,
                    "\telse\n\t\tsay_begin(r);\n}",
                    "\telse {\n\t\tsay_begin(r);\n"
                    "\t\tatomic_store(&r->proof_ms, mono_ms());\n\t}\n}"),
    "pong-proof": ("a proof is as old as its answer, not as its question", REPLY,
                   "atomic_store(&r->proof_ms, r->ping_ms);",
                   "atomic_store(&r->proof_ms, mono_ms());"),
    "no-cap": ("an instance that is cut off believes its memory", CACHE,
               "return now_ms < later_ms(since_ms, c->degraded_ttl_ms);",
               "return since_ms + now_ms > 0;"),
    "pending": ("what was to be forgotten is dropped with the connection", REMOTE,
                "if (c->kind == CMD_FORGET && c->err)",
                "if (c->kind == CMD_FORGET && (int)c->err < 0)"),
    "epoch": ("a new epoch forgets nothing", REPLY,
              "\tforget_here(r, CACHE_SLOT_ALL);\n}", "}"),
    "run": ("a server that comes back is taken for the same", REPLY,
            "if (run.n == 0 || run.n >= REMOTE_RUN_MAX)", "if (run.n < 99)"),
    "seen": ("a generation that a get shows is seen, but nothing is forgotten", REPLY,
             "\tforget_here(r, slot);\n\ts->gen = gen;",
             "\tif (asked == 0)\n\t\tforget_here(r, slot);\n\ts->gen = gen;"),
    "own": ("what was raised for ourselves is not forgotten here again", REPLY,
            "if (!learn(r, c->slots[i], gen, c->sent_lesson))",
            "if (gen == r->seen[c->slots[i]].gen + 1)\n"
            "\t\t\tr->seen[c->slots[i]].gen = gen;\n"
            "\t\telse if (!learn(r, c->slots[i], gen, c->sent_lesson))"),
    "subscribe": ("the generations are read before the subscription", TURN,
                  "if (!here[0] || !there[0] || !r->subscribed)",
                  "if (!here[0] || !there[0])"),
    "deaf": ("messages are not acted upon", REPLY,
             "(void)learn(r, m.slot, m.gen, 0);", "(void)m.gen;"),
    "tag": ("a tag is forgotten here only", CACHE,
            "remote_forget(c->remote, slot, (struct str){NULL, 0});", "(void)slot;"),
    "order": ("gets overtake what is pending", REMOTE,
              "if (r->pending_n == 0)\n\t\treturn false;",
              "if (m->n < 99)\n\t\treturn false;"),
    "two-leaders": ("a load under way is not joined", LOAD,
                    "struct flight *f = flight_find(l->s, l->hash, l->w->key);\n"
                    "\tstruct marks marks;\n\n\tif (f) {",
                    "struct flight *f = NULL;\n\tstruct marks marks;\n\n\tif (f) {"),
    "overtake": ("who comes after a forgetting does not wait for the doomed load", LOAD,
                 "if (f) {\n\t\tf->refs++;", "if (f && !f->doomed) {\n\t\tf->refs++;"),
    "wake-up": ("one of those who wait is woken", FLIGHT,
                "pthread_cond_broadcast(&f->finished);",
                "pthread_cond_signal(&f->finished);"),
    "born": ("a value is as old as the end of its load", LOAD,
             "r->life.ttl_ms = r->e ? w->negative_ttl_ms : w->ttl_ms;",
             "r->life.born_ms = want_now_ms(w, j->began_ms);\n"
             "\tr->life.ttl_ms = r->e ? w->negative_ttl_ms : w->ttl_ms;"),
    "quiet-stale": ("a stale value does not say so", LOAD,
                    "l->info.from = CACHE_FROM_STALE;\n\tl->info.why = why;",
                    "(void)why;"),
    "late-set": ("a set that was late begins its time anew", TURN,
                 "words_add_u64(&w, c->marks.asked_ms + r->clock_ms);",
                 "words_add_u64(&w, (uint64_t)1 << 52);"),
    "leak": ("a get that was given up is not freed", REMOTE,
             "\tif (c->left)\n\t\treturn true;", "\tif (c->left)\n\t\treturn false;"),
    "deadline": ("who waits does so for longer than he may", LOAD,
                 "bool landed = flight_wait(l->s, f, patience_of(l));",
                 "bool landed = flight_wait(l->s, f, patience_of(l) + 5000);"),
    "busy": ("what is queued keeps the thread awake while it cannot be said", TURN,
             "can_say = r->step == STEP_IN_STEP && r->queue.first;",
             "can_say = r->queue.first;"),
    "fetch-marks": ("what is forgotten while the store is asked ahead is kept", FETCH,
                    "\tf->asked = true;\n\tf->marks = a->marks;",
                    "\tf->flight->marks = core_mark(f->c, &f->want);\n"
                    "\tf->flight->doomed = false;\n"
                    "\tf->asked = true;\n\tf->marks = a->marks;"),
    "fetch-beside": ("what is loaded already is asked for ahead", FETCH,
                     "!flight_find(f->s, f->hash, w->key)", "w->key.n"),
    "fetch-patience": ("who does not wait for the store waits without a limit", TURN,
                       "\tasks_leave(r, now);\n", "\t(void)now;\n"),
    "fetch-twice": ("an answer that comes too late is told all the same", REMOTE,
                    "\t\tif (c->done)\n\t\t\task_told", "\t\tif (c->told)\n\t\t\task_told"),
    "half-open": ("an open breaker stays open", "common/cache/breaker.c",
                  "b->state == BREAKER_OPEN && now_ms >= b->until_ms",
                  "b->state == BREAKER_OPEN && now_ms + 1 == 0"),
    "before-commit": ("the writer forgets before it commits", CLIENTS,
                      "\tw->writes++;\n",
                      "\tw->writes++;\n\tcache_clear(in->cache);\n"
                      "\tfiber_sleep_us(20000);\n"),
}
# What else changes with one of them.
ALSO = {
    "before-commit": ((CLIENTS, re.compile(
        r"\tif \(all\)\n\t\tcache_clear.*?\n\tforgot_all", re.S), "\tforgot_all"),),
    "subscribe": ((TURN, re.compile(
        r"\telse if \(!w->send\(w->arg, WIRE_MESSAGES, COUNTOF\(who\), who\) \|\|.*?\)\)\n",
        re.S),
        "\telse if (!w->send(w->arg, WIRE_MESSAGES, COUNTOF(who), who) || !subscribe)\n"),
        (TURN, "\tr->probe_ms = now + REMOTE_PROBE_MS;\n",
         "\tconst struct str subscribe[] = {STR(\"SUBSCRIBE\"), r->names.channel};\n\n"
         "\tr->probe_ms = now + REMOTE_PROBE_MS;\n\tif (!r->subscribed)\n"
         "\t\t(void)r->conf.wire->send(r->conf.wire->arg, WIRE_MESSAGES,\n"
         "\t\t\t\t\t    2, subscribe);\n")),
}


def edit(tree, file, old, new):
    path = tree / file
    text = path.read_text()
    if isinstance(old, re.Pattern):
        changed, n = old.subn(lambda _: new, text)
    else:
        n, changed = text.count(old), text.replace(old, new)
    if n != 1:
        return f"does not fit {file} any more ({n} places)"
    path.write_text(changed)
    return None


def run(command, cwd, env=None):
    return subprocess.run(command, cwd=cwd, env=env, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          check=False, text=True, errors="replace")


def build(tree, out):
    target = f"{out}/release/sim/test_cache"
    made = run(["make", "-s", f"BUILD={out}", "WERROR=-Wno-unused", target], tree)
    return target, (made.stdout if made.returncode else None)


def try_one(name, tree, out, seeds):
    """(seed or None, what was said)"""
    what, file, old, new = MUTATIONS[name]
    edits = [(file, old, new), *ALSO.get(name, ())]
    saved = {e[0]: (tree / e[0]).read_text() for e in edits}
    try:
        for e in edits:
            wrong = edit(tree, *e)
            if wrong:
                return None, wrong
        target, wrong = build(tree, out)
        if wrong:
            return None, "does not compile:\n" + wrong
        said = run([target], tree, {"KAE_SEEDS": str(seeds)}).stdout
        found = re.search(r"^seed (\d+): (.*)$", said, re.M)
        if found:
            return int(found.group(1)), found.group(2)
        if "[  PASSED  ] 2" in said:
            return None, "not found"
        return 0, "crashed: " + said[-200:]
    finally:
        for f, text in saved.items():
            (tree / f).write_text(text)
            # Or a later build in the same place would take it for newer.
            (out / "release" / f).with_suffix(".o").unlink(missing_ok=True)


def main():
    ap = argparse.ArgumentParser(description=__doc__,
                                 formatter_class=argparse.RawTextHelpFormatter)
    ap.add_argument("--seeds", type=int, default=3000)
    ap.add_argument("--build", help="to be used again; else a new one")
    ap.add_argument("names", nargs="*", metavar="name")
    args = ap.parse_args()
    bad = 0
    with tempfile.TemporaryDirectory() as tmp:
        tree = pathlib.Path(tmp) / "tree"
        tree.mkdir()
        for t in TREES:
            source = ROOT / t
            if source.is_dir():
                shutil.copytree(source, tree / t, symlinks=True)
            elif source.exists():
                shutil.copy2(source, tree / t)
        out = pathlib.Path(args.build or tree / "build").absolute()
        print("| broken | found at seed | by |\n|---|---|---|", flush=True)
        for name in args.names or MUTATIONS:
            seed, said = try_one(name, tree, out, args.seeds)
            bad += seed is None
            print(f"| {MUTATIONS[name][0]} (`{name}`) | "
                  f"{'-' if seed is None else seed} | {said} |", flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
