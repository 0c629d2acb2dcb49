# fuzz.mk -- libFuzzer targets, built by clang with ASan and UBSan (FLAVOR=fuzz).
#
# Input:  tests/fuzz/fuzz_*.c; whatever else they link is built in that flavor too.
# Output: out/fuzz/test/fuzz_*; tests/fuzz/run keeps corpus and findings in out/fuzz.
# Gives:  the targets fuzz and fuzz-targets.

FUZZ_TARGETS := $(patsubst tests/fuzz/%.c,out/fuzz/test/%,$(wildcard tests/fuzz/fuzz_*.c))
T ?= eventstream
S ?= 60

.PHONY: fuzz fuzz-targets
fuzz: out/deps-check.stamp ## fuzz one parser: T=eventstream|json|yaml|protobuf|sigv4|document|answer|limiter_pack|credentials S=seconds
	@$(MAKE) --no-print-directory FLAVOR=fuzz out/fuzz/test/fuzz_$(T)
	@tests/fuzz/run $(T) $(S)

fuzz-targets: $(FUZZ_TARGETS)

$(OUT)/test/fuzz_%: $(OUT)/obj/tests/fuzz/fuzz_%.o $(LIBTEST) $(LIBPRISM)
	@mkdir -p $(@D)
	$(LINK) $^ $(PKG_LIBS)

-include $(patsubst out/fuzz/test/%,out/fuzz/obj/tests/fuzz/%.d,$(FUZZ_TARGETS))
