# AI-Prism. `make` builds, `make demo` shows the main job, `make check` passes the tests; `make help`
# lists the rest. Everything is written below out/.

FLAVOR ?= release
OUT     = out/$(FLAVOR)
Q       = $(if $(V),,@)# make V=1 shows the commands
SERVICES = router limiter analyzer simulator prismctl
BINS    = $(foreach s,$(SERVICES),$(OUT)/bin/$(if $(filter prismctl,$(s)),$(s),prism-$(s)))

.DEFAULT_GOAL = all
.PRECIOUS: $(OUT)/obj/%.o

# Packages that are missing are installed before anything else is looked at: make remakes this
# fragment and starts again.
ifeq ($(filter clean help image,$(MAKECMDGOALS)),)
-include out/deps.mk
endif
out/deps.mk: build/deps.txt build/deps.sh
	@mkdir -p out && build/deps.sh build/deps.txt && echo '# build/deps.txt is installed' >$@

include build/flags.mk
include build/gen.mk
include build/interop.mk

INCLUDES  = -Ilibs -Iservices -I$(GEN)
CFLAGS_PRISM = $(CFLAGS_COMMON) $(CFLAGS_FLAVOR) $(PKG_CFLAGS) $(INCLUDES) $(CFLAGS)
LIB_SRCS  = $(wildcard libs/*/*.c)
LIB_OBJS  = $(LIB_SRCS:%.c=$(OUT)/obj/%.o) $(GEN_SRCS:%.c=$(OUT)/obj/%.o)
LIBPRISM  = $(OUT)/libprism.a
service_objs = $(patsubst %.c,$(OUT)/obj/%.o,$(wildcard services/$(1)/*.c))

all: $(BINS) ## build the four services and prismctl (FLAVOR=release|debug|asan|tsan)

# --- objects ------------------------------------------------------------------------------------

# task.c changes stacks, which the fortified longjmp takes for an overflow.
$(OUT)/obj/libs/loop/task.o: CFLAGS_FORTIFY =

$(OUT)/obj/%.o: %.c | $(GEN_HDRS)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS_PRISM) $(CFLAGS_FORTIFY) -include base/banned.h -c -o $@ $<

$(OUT)/obj/$(GEN)/%.o: $(GEN)/%.c | $(GEN_HDRS)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS_PRISM) -Wno-missing-braces -Wno-missing-prototypes -c -o $@ $<

$(LIBPRISM): $(LIB_OBJS)
	@rm -f $@
	$(Q)$(AR) qcsD $@ $^

LINK = $(Q)$(CC) $(LDFLAGS_FLAVOR) -Wl,--gc-sections -Wl,--as-needed $(LDFLAGS) -o $@

define service_rule
$(OUT)/bin/$(if $(filter prismctl,$(1)),$(1),prism-$(1)): $(call service_objs,$(1)) $(LIBPRISM)
	@mkdir -p $$(@D)
	$$(LINK) $$^ $$(PKG_LIBS)
endef
$(foreach s,$(SERVICES),$(eval $(call service_rule,$(s))))

# --- tests --------------------------------------------------------------------------------------

# A unit test may link every service's objects but main.o, and the fakes.
TEST_COMMON = $(patsubst %.c,$(OUT)/obj/%.o,$(filter-out $(INTEROP_SRCS),$(wildcard tests/*.c tests/fake/*.c)))
TEST_SERVICE_OBJS = $(foreach s,$(SERVICES),$(filter-out %/main.o,$(call service_objs,$(s))))
UNIT_TESTS     = $(patsubst tests/unit/%.c,$(OUT)/test/%,$(wildcard tests/unit/test_*.c))
SCENARIO_TESTS = $(patsubst tests/scenario/%.c,$(OUT)/test/%,$(wildcard tests/scenario/test_*.c))
TEST_TOOLS     = $(patsubst tests/model/%.c,$(OUT)/test/%,$(wildcard tests/model/*.c)) \
                 $(OUT)/test/clock_ahead.so \
                 $(patsubst tests/load/%.c,$(OUT)/test/%,$(filter-out %/clock_ahead.c,$(wildcard tests/load/*.c)))
LIBTEST = $(OUT)/libtest.a

$(LIBTEST): $(TEST_COMMON) $(TEST_SERVICE_OBJS)
	@rm -f $@
	$(Q)$(AR) qcsD $@ $^

$(OUT)/obj/tests/%.o: INCLUDES += -Itests
$(OUT)/obj/tests/%.o: CFLAGS_FLAVOR += -Wno-frame-larger-than
$(OUT)/test/%: $(OUT)/obj/tests/unit/%.o $(LIBTEST) $(LIBPRISM)
	@mkdir -p $(@D)
	$(LINK) $^ $(PKG_LIBS) -lcmocka
$(OUT)/test/%: $(OUT)/obj/tests/scenario/%.o $(LIBTEST) $(LIBPRISM)
	@mkdir -p $(@D)
	$(LINK) $^ $(PKG_LIBS) -lcmocka

$(OUT)/test/%: $(OUT)/obj/tests/model/%.o $(LIBTEST) $(LIBPRISM)
	@mkdir -p $(@D)
	$(LINK) $^ $(PKG_LIBS) -lcmocka

$(OUT)/test/%.so: tests/load/%.c
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS_COMMON) -fPIC -shared -o $@ $<

$(OUT)/test/%: $(OUT)/obj/tests/load/%.o $(LIBTEST) $(LIBPRISM)
	@mkdir -p $(@D)
	$(LINK) $^ $(PKG_LIBS) -lcmocka

# Only where the vectors are, whose protos these speak.
$(INTEROP_SRCS:%.c=$(OUT)/obj/%.o) $(interop_objs): INCLUDES += -I$(INTEROP_GEN)
$(INTEROP_SRCS:%.c=$(OUT)/obj/%.o): | $(interop_gen:=.h)
$(OUT)/test/interop_server: $(OUT)/obj/tests/fake/interop.o
$(OUT)/test/interop_%: $(OUT)/obj/tests/clients/interop/%.o $(interop_objs) $(LIBPRISM)
	@mkdir -p $(@D)
	$(LINK) $^ $(PKG_LIBS)

include build/fuzz.mk

out/deps-check.stamp: build/deps-check.txt build/deps.sh
	@mkdir -p out && build/deps.sh build/deps-check.txt && touch $@

tests: $(UNIT_TESTS) $(SCENARIO_TESTS) $(TEST_TOOLS) $(INTEROP_BINS) ## build all tests

check: out/deps-check.stamp ## install what is missing, build, pass every test (FLAVOR=asan|tsan too)
	@$(MAKE) --no-print-directory WERROR=1 all tests
	@ci/check $(OUT)

lint: out/deps-check.stamp $(GEN_HDRS) ## floors, caps, banned functions, headers, formats, analysers
	@ci/lint

# --- run ----------------------------------------------------------------------------------------

demo: all ## analyse a document with the whole suite on this machine (DOC=path)
	@build/suite demo $(OUT)/bin $(if $(DOC),"$(DOC)",SECURITY.md)

up: all ## start the suite on its fixed ports, for grpcurl and prismctl
	@build/suite up $(OUT)/bin

down: ## stop what `make up` started
	@build/suite down

prove: all $(TEST_TOOLS) ## what the limiter promises, with real processes; minutes (PROOF=name)
	@PRISM_OUT=$(OUT) PRISM_BIN=$(OUT)/bin tests/load/prove.py $(PROOF)

chaos: all $(TEST_TOOLS) ## processes killed, frozen and emptied under overload; ten minutes
	@PRISM_OUT=$(OUT) PRISM_BIN=$(OUT)/bin tests/load/chaos.py

bench: all ## what the suite costs on this machine (ROUNDS=5); minutes, not part of check
	@build/bench $(OUT)/bin

bench-limiter: all $(TEST_TOOLS) ## what a decision costs, beside the figures of others (ROUNDS=3)
	@PRISM_OUT=$(OUT) PRISM_BIN=$(OUT)/bin tests/load/bench.py $(ROUNDS)

bench-router: all ## what the router adds to a call (ROUNDS=5); minutes, not part of check
	@build/bench-router $(OUT)/bin

# --- the rest -----------------------------------------------------------------------------------

docs: all ## write the chart's OPTIONS.md from the option tables
	@ci/docs --write

image: ## the container image ai-prism:VERSION, with docker or buildah (IMAGE=name)
	@build/image

PREFIX ?= /usr/local
install: all ## copy the programs to DESTDIR/PREFIX/bin
	install -d $(DESTDIR)$(PREFIX)/bin
	install -m 755 $(BINS) $(DESTDIR)$(PREFIX)/bin

clean: ## remove everything that was built
	rm -rf out

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  \1\t/' | expand -t 12

.PHONY: all tests check lint demo up down prove chaos bench bench-limiter bench-router docs image install clean help

-include $(LIB_OBJS:.o=.d) $(foreach s,$(SERVICES),$(patsubst %.o,%.d,$(call service_objs,$(s))))
-include $(TEST_COMMON:.o=.d) $(INTEROP_SRCS:%.c=$(OUT)/obj/%.d) $(patsubst $(OUT)/test/%,$(OUT)/obj/tests/unit/%.d,$(UNIT_TESTS))
-include $(patsubst $(OUT)/test/%,$(OUT)/obj/tests/scenario/%.d,$(SCENARIO_TESTS))
-include $(patsubst %.c,$(OUT)/obj/%.d,$(wildcard tests/model/*.c tests/load/*.c))
