# One Makefile, no recursion.  `make help` lists the targets.
CC       ?= cc
FLAVOR   ?= release
WERROR   ?= -Werror
BUILD    ?= build
PYTHON   ?= python3
B        := $(BUILD)/$(FLAVOR)
VERSION  := $(shell cat VERSION)

WARN := -Wall -Wextra -Wshadow -Wconversion -Wsign-conversion -Wstrict-prototypes \
	-Wmissing-prototypes -Wpointer-arith -Wcast-qual -Wwrite-strings -Wundef -Wvla \
	-Wformat=2 -Wswitch-enum -Wimplicit-fallthrough -Wdouble-promotion $(WERROR)
HARD := -fstack-protector-strong -fno-common -fPIE

# Reports of sanitizers want lines (-g1), not variables.
opt.release := -O2 -g -D_FORTIFY_SOURCE=2
opt.debug   := -O1 -g
opt.asan    := -O1 -g1 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
opt.tsan    := -O1 -g1 -fsanitize=thread
opt.cov     := -O0 -g --coverage
opt.fuzz    := -O1 -g -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all
ifeq ($(opt.$(FLAVOR)),)
$(error unknown FLAVOR '$(FLAVOR)')
endif

PKGS      = libmicrohttpd gnutls libcurl zlib libpng libjpeg libgif libwebp libwebpdemux libpq hiredis $(msgpack) libjwt sqlite3 openssl libsodium jansson libutf8proc
CPPFLAGS += -I. -D_GNU_SOURCE -DKAE_VERSION='"$(VERSION)"' -MMD -MP
CFLAGS   += -std=gnu17 $(opt.$(FLAVOR)) $(WARN) $(HARD)
LDFLAGS  += $(filter -fsanitize% --coverage,$(opt.$(FLAVOR))) -pie -rdynamic -Wl,-z,relro,-z,now
# Asked for when something is made, so that `make help` and `make deps` work
# before the libraries are there, and once for all that is.
once = $(eval $(1) := $(2))$($(1))
# msgpack-c has another name from version 6 on.
msgpack    = $(shell pkg-config --exists msgpack && echo msgpack || echo msgpack-c)
pkg_cflags = $(call once,pkg_cflags,$(shell pkg-config --cflags $(PKGS)))
pkg_libs   = $(call once,pkg_libs,$(shell pkg-config --libs $(PKGS)) -lnng -lm -lpthread)

objs      = $(patsubst %.c,$(B)/%.o,$(1))
all_c    := $(wildcard common/*/*.c gateway/*.c svc-*/*.c svc-*/*/*.c local/*.c tests/*.c tests/*/*.c)
all_h    := $(wildcard common/*/*.h gateway/*.h svc-*/*.h svc-*/*/*.h local/*.h tests/*.h tests/*/*.h)
mains    := $(wildcard gateway/main.c svc-*/main.c local/main.c) local/openapi_tool.c svc-auth/blocklist_tool.c
lib_c    := $(filter-out $(mains),$(wildcard common/*/*.c gateway/*.c svc-*/*.c svc-*/*/*.c local/*.c))
unit     := $(wildcard tests/unit/test_*.c)
store    := $(wildcard tests/store/test_*.c)
sim      := $(wildcard tests/sim/test_*.c)
cachesim := $(wildcard tests/sim/cache_*.c) $(addprefix tests/sim/,fiber.c fiber_posix.c heap.c redis_model.c)
fuzz     := $(wildcard tests/fuzz/fuzz_*.c)
bench    := $(wildcard tests/bench/*.c)
programs := $(if $(wildcard gateway/main.c),$(B)/bin/kae-gateway) \
	$(patsubst svc-%/main.c,$(B)/bin/kae-%,$(wildcard svc-*/main.c)) \
	$(if $(wildcard local/main.c),$(B)/bin/knowalledge)

unit_bin   := $(unit:tests/unit/%.c=$(B)/unit/%)
store_bin  := $(store:tests/store/%.c=$(B)/store/%)
sim_bin    := $(sim:tests/sim/%.c=$(B)/sim/%)
fault_bin  := $(patsubst tests/fault/%.c,$(B)/fault/%,$(wildcard tests/fault/*.c))
faulty     := $(addprefix $(B)/faulty/,kae-gateway kae-auth kae-content kae-gdpr knowalledge io.so)
replay_bin := $(fuzz:tests/fuzz/fuzz_%.c=$(B)/replay/%)
bench_bin  := $(bench:tests/bench/%.c=$(B)/bench/%)

.PHONY: all
all: $(programs) ## build every program (FLAVOR=release|debug|asan|tsan|cov)

# --- two commands: run and test ---------------------------------------------
.PHONY: run run-split test test-full check
run: deps-run ## build and start everything in one process on 127.0.0.1:5000
	@$(MAKE) --no-print-directory -s all
	@ENVIRONMENT=$${ENVIRONMENT:-development} exec $(B)/bin/knowalledge
run-split: deps-run ## the same as four processes over ipc
	@$(MAKE) --no-print-directory -s all
	@ENVIRONMENT=$${ENVIRONMENT:-development} BIN=$(B)/bin exec deploy/run-split.sh
test: deps-test deps-docker ## everything that proves a change: see tests/run.py (SKIP_DOCKER=1: without containers)
	@$(MAKE) --no-print-directory -s -j2 all tests
	@$(PYTHON) tests/run.py --build $(BUILD) --flavor $(FLAVOR) $(if $(SKIP_DOCKER),,containers) unit store sim integration fault sanitizers
test-full: ## the same in its long form, and nothing may fail even once: hours
	@KAE_FULL=1 KAE_STRICT=1 $(MAKE) --no-print-directory test
check: deps-test ## under two minutes: format, banned calls, unit tests, saved fuzz inputs
	@$(MAKE) --no-print-directory -s -j2 all tests
	@$(MAKE) --no-print-directory -s format-check lint-rules
	@$(PYTHON) tests/run.py --build $(BUILD) --flavor $(FLAVOR) unit

.PHONY: deps deps-run deps-test deps-docker tests
deps: ## print the missing Debian packages and install them
	@deploy/deps.sh build run test
deps-run:
	@deploy/deps.sh build run
deps-test:
	@deploy/deps.sh build run test
deps-docker: deps-test
	@[ -n "$(SKIP_DOCKER)" ] || deploy/deps.sh docker
tests: $(unit_bin) $(store_bin) $(fault_bin) $(sim_bin) $(replay_bin) $(faulty) ## build the test programs

# --- further tests -----------------------------------------------------------
.PHONY: test-unit test-store test-sim test-integration test-fault test-compose test-asan test-tsan test-upgrade test-clean test-deb bench bench-quick bench-raw bench-ready fuzz
test-unit test-store test-sim test-integration: test-%: deps-test all tests ## one suite
	@$(PYTHON) tests/run.py --build $(BUILD) --flavor $(FLAVOR) $*
test-fault: deps-test all ## every fault against every kind of route, as docs/faults.md says (WRITE=1 writes it)
	@KAE_BIN=$(abspath $(B))/bin $(PYTHON) tests/fault/table.py $(if $(WRITE),--write)
test-compose: deps-test deps-docker ## images and compose.yaml in their long form, in a Docker daemon of their own
	@KAE_FULL=1 $(PYTHON) tests/run.py --build $(BUILD) --flavor $(FLAVOR) containers
test-asan: deps-test ## unit and integration under address + undefined sanitizers
	@$(MAKE) --no-print-directory -s -j2 FLAVOR=asan all tests
	@$(PYTHON) tests/run.py --build $(BUILD) --flavor asan unit store integration
test-tsan: deps-test ## bus, pool, log and cache under the thread sanitizer
	@$(MAKE) --no-print-directory -s -j2 FLAVOR=tsan tests
	@$(PYTHON) tests/run.py --build $(BUILD) --flavor tsan threads
test-upgrade: deps-test all ## the version before (tests/fault/upgrade_from) is built, and replaced by this one under load
	@KAE_FULL=1 KAE_BIN=$(abspath $(B))/bin $(PYTHON) -m unittest -v tests.fault.test_upgrade
test-clean: ## both README commands inside a bare Debian root (RELEASE=trixie, SUITES="unit store": those alone)
	@tests/clean.sh $(or $(RELEASE),bookworm) $(SUITES)
test-deb: deb ## the package in a bare Debian, then with systemd as its first process: install, start, upgrade, purge
	@deploy/deps.sh debtest
	@tests/deb.sh build/knowalledge_$(VERSION)_$$(dpkg --print-architecture).deb
bench-quick: deps-test bench-ready ## requests per second beside nginx and Flask, two minutes
	@KAE_BIN=$(abspath $(B))/bin $(PYTHON) tests/bench/run.py --quick
bench: deps-test bench-ready ## every scenario into docs/performance.md, half an hour; ONLY=name,name BENCH_ROUNDS= BENCH_SECONDS=
	@KAE_BIN=$(abspath $(B))/bin $(PYTHON) tests/bench/run.py
bench-raw: deps-test bench-ready ## stores, leaderboard, start-up, memory, connections into docs/performance.md, twenty minutes
	@$(MAKE) --no-print-directory -s -j2 $(addprefix $(B)/bench/,db rank remote submit)
	@KAE_BIN=$(abspath $(B))/bin $(PYTHON) tests/bench/raw.py $(subst $(comma), ,$(ONLY))
bench-ready:
	@deploy/deps.sh build run test bench
	@$(MAKE) --no-print-directory -s -j2 all $(B)/bench/openloop
fuzz: ## FUZZ_S seconds (60) on every fuzz target (clang)
	@deploy/deps.sh build fuzz
	@$(MAKE) --no-print-directory CC=clang FLAVOR=fuzz $(fuzz:tests/fuzz/fuzz_%.c=$(BUILD)/fuzz/fuzzers/%)
	@set -e; for t in $(fuzz:tests/fuzz/fuzz_%.c=%); do mkdir -p $(BUILD)/fuzz/found/$$t; \
		$(BUILD)/fuzz/fuzzers/$$t -max_total_time=$(or $(FUZZ_S),60) $(BUILD)/fuzz/found/$$t tests/fuzz/corpus/$$t; done

# --- how things are made -----------------------------------------------------
$(B)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(pkg_cflags) $(CFLAGS) -c -o $@ $<

# What tests do themselves need not be quick, nor is it searched for undefined
# behaviour: a third of the time that it takes to compile them.
test_opt.release := -O1 -g1
test_opt.asan    := -fno-sanitize=undefined
$(B)/tests/unit/%.o $(B)/tests/store/%.o: CFLAGS += $(test_opt.$(FLAVOR))

# The gateway serves documents that a program makes from the tables of all
# (gateway/pages.h), so they are never older than what they describe.
$(B)/gen/lib.a: $(call objs,$(lib_c)) $(B)/gen/blocklist.o
	@mkdir -p $(@D)
	@rm -f $@
	ar rcsT $@ $^
$(B)/gen/openapi_tool: $(B)/local/openapi_tool.o $(B)/gen/lib.a
	$(CC) $(LDFLAGS) -o $@ $^ $(pkg_libs)
$(B)/gen/pages.c: $(B)/gen/openapi_tool local/operations.json gateway/style.css
	$^ > $@
# The filter of common passwords, out of a Debian package's lists.
COMMON_PASSWORDS ?= $(addprefix /usr/share/perl5/Data/Password/zxcvbn/RankedDictionaries/,Common.pm English.pm)
$(B)/gen/blocklist_tool: $(addprefix $(B)/,svc-auth/blocklist_tool.o svc-auth/fold.o common/base/str.o)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -o $@ $^ $(pkg_libs)
$(B)/gen/blocklist.c: $(B)/gen/blocklist_tool $(COMMON_PASSWORDS)
	$^ > $@
$(B)/gen/%.o: $(B)/gen/%.c
	$(CC) $(CPPFLAGS) $(CFLAGS) -c -o $@ $<

$(B)/libkae.a: $(call objs,$(lib_c)) $(B)/gen/pages.o $(B)/gen/blocklist.o
	@rm -f $@
	ar rcs $@ $^

comma := ,
link = @mkdir -p $(@D) && $(CC) $(LDFLAGS) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(pkg_libs)
$(B)/bin/kae-gateway: $(B)/gateway/main.o $(B)/libkae.a
	$(link)
$(B)/bin/kae-%: $(B)/svc-%/main.o $(B)/libkae.a
	$(link)
$(B)/bin/knowalledge: $(B)/local/main.o $(B)/libkae.a
	$(link)
# Programs whose calls can be made to fail, for tests/fault (tests/faulty/).
faulty_o   := $(B)/tests/faulty/alloc.o $(B)/tests/faulty/control.o $(B)/libkae.a
faulty_fns := malloc calloc realloc aligned_alloc strdup strndup
$(B)/faulty/kae-gateway: $(B)/gateway/main.o $(faulty_o)
	$(link) $(addprefix -Wl$(comma)--wrap=,$(faulty_fns))
$(B)/faulty/kae-%: $(B)/svc-%/main.o $(faulty_o)
	$(link) $(addprefix -Wl$(comma)--wrap=,$(faulty_fns))
$(B)/faulty/knowalledge: $(B)/local/main.o $(faulty_o)
	$(link) $(addprefix -Wl$(comma)--wrap=,$(faulty_fns))
$(B)/faulty/io.so: tests/faulty/io.c tests/faulty/control.c tests/faulty/io.def tests/faulty/control.h
	@mkdir -p $(@D)
	$(CC) $(filter-out -MMD -MP,$(CPPFLAGS)) -std=gnu17 -O2 -g $(WARN) -fPIC -shared -o $@ $(filter %.c,$^) -ldl
$(B)/unit/%: $(B)/tests/unit/%.o $(B)/tests/alloc_fault.o $(B)/libkae.a
	$(link) $(addprefix -Wl$(comma)--wrap=,malloc calloc realloc $(wrap)) -lcmocka
# These hold the clock in their hand (tests/unit/cache_clock.h).
$(B)/unit/test_cache_limits $(B)/unit/test_cache_remote $(B)/unit/test_cache_fetch $(B)/unit/test_dispatch_ahead: wrap := mono_ms pthread_cond_timedwait
$(B)/store/%: $(B)/tests/store/%.o $(B)/tests/store/store.o $(B)/tests/alloc_fault.o $(B)/libkae.a
	$(link) -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc -lcmocka
# A simulation is test_<name>.c and what it needs of the other files there; it
# may put its own functions in the place of ours (wrap: their names).
$(B)/libsim.a: $(call objs,$(filter-out $(sim) $(cachesim),$(wildcard tests/sim/*.c)))
	@rm -f $@
	ar rcs $@ $^
$(B)/sim/%: $(B)/tests/sim/%.o $(B)/libsim.a $(B)/tests/alloc_fault.o $(B)/libkae.a
	$(link) $(addprefix -Wl$(comma)--wrap=,malloc calloc realloc $(wrap)) -lcmocka
$(B)/sim/test_relay: wrap := mono_ms wall_ms randombytes_buf randombytes_uniform \
	db_read db_write db_run db_later db_lock_later db_change db_get_i64 db_kind db_cx db_row_i64 db_row_str
$(B)/fault/%: $(B)/tests/fault/%.o $(B)/libkae.a
	$(link)
# The cache's runs its threads as fibers and knows whose memory is whose.
cachesim_wrap := malloc calloc realloc aligned_alloc free getrandom mono_ms mono_us wall_ms \
	$(addprefix pthread_,create join detach self setname_np mutex_init mutex_destroy mutex_lock \
	mutex_trylock mutex_unlock cond_init cond_destroy cond_wait cond_timedwait cond_signal \
	cond_broadcast) log_emit freeReplyObject
$(B)/sim/test_cache $(B)/sim/test_redis_model: $(B)/sim/%: $(B)/tests/sim/%.o \
		$(call objs,tests/sim/sim.c tests/sim/context.c $(cachesim)) $(B)/libkae.a
	$(link) $(addprefix -Wl$(comma)--wrap=,$(cachesim_wrap)) -lcmocka
$(B)/bench/%: $(B)/tests/bench/%.o $(B)/libkae.a
	$(link)
$(B)/bench/offline $(B)/unit/test_offline: $(B)/tests/offline_score.o $(B)/tests/offline_prose.o
$(B)/replay/%: $(B)/tests/fuzz/fuzz_%.o $(B)/tests/fuzz/replay.o $(B)/libkae.a
	$(link)
$(B)/fuzzers/%: $(B)/tests/fuzz/fuzz_%.o $(B)/libkae.a
	@mkdir -p $(@D)
	$(CC) -fsanitize=fuzzer,address,undefined -rdynamic -o $@ $^ $(pkg_libs)

# --- documents made from tables ------------------------------------------------
.PHONY: docs lint lint-rules format format-check audit-auth clean help
docs: all ## write what docs/, deploy/ and .env.example have from tables: settings, errors, routes, privacy, policies
	@$(B)/bin/kae-gateway --doc config > docs/config.md
	@$(B)/bin/kae-gateway --doc gone > docs/migrating-settings.md
	@$(B)/bin/kae-gateway --doc env > .env.example
	@$(B)/bin/kae-gateway --doc errors > docs/errors.md
	@$(B)/bin/knowalledge --doc openapi > docs/openapi.yaml
	@$(B)/bin/knowalledge --doc privacy > docs/privacy.md
	@$(B)/bin/knowalledge --doc export > docs/export.schema.json
	@$(B)/bin/knowalledge --doc policies > deploy/k8s/base/network-policies.yaml
audit-auth: all ## what anyone may call and why; fails on a route without a reason
	@$(B)/bin/kae-gateway --audit-auth

# --- without Docker -----------------------------------------------------------
PREFIX  ?= /usr/local
.PHONY: install
install: all ## copy programs, systemd units and documents below $(DESTDIR)$(PREFIX)
	install -d $(addprefix $(DESTDIR)$(PREFIX)/,bin lib/systemd/system lib/sysusers.d share/doc/knowalledge)
	install -m 0755 $(programs) $(DESTDIR)$(PREFIX)/bin/
	install -m 0644 README.md LICENSE docs/*.md docs/openapi.yaml $(DESTDIR)$(PREFIX)/share/doc/knowalledge/
	install -m 0644 deploy/systemd/knowalledge.sysusers $(DESTDIR)$(PREFIX)/lib/sysusers.d/knowalledge.conf
	@set -e; for u in deploy/systemd/*.service deploy/systemd/*.target; do \
		sed 's|@PREFIX@|$(PREFIX)|' $$u > $(DESTDIR)$(PREFIX)/lib/systemd/system/$${u##*/}; done

.PHONY: deb
deb: deps-run ## build/knowalledge_VERSION_ARCH.deb for this release of Debian
	@deploy/deps.sh deb
	@deploy/deb/build.sh

# --- reading the code for us ----------------------------------------------------
lint-rules: ## banned calls and includes against the arrows
	@tests/lint.sh
lint: lint-rules ## clang-tidy and cppcheck too
	printf "%s\n" $(all_c) | xargs -P$$(nproc) -I{} clang-tidy --quiet {} -- $(filter-out -MMD -MP,$(CPPFLAGS)) $(pkg_cflags) -std=gnu17
	cppcheck --quiet --error-exitcode=1 --enable=warning,portability,performance --inline-suppr -I. $(all_c)
format: ## rewrite sources in the house format
	clang-format -i $(all_c) $(all_h)
format-check: ## fail if `make format` would change anything
	clang-format --dry-run -Werror $(all_c) $(all_h)
clean: ## remove build/
	rm -rf $(BUILD)
help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t16

.DELETE_ON_ERROR:
.SECONDARY:
-include $(patsubst %.c,$(B)/%.d,$(all_c))
