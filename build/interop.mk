# interop.mk -- gRPC's own interoperability cases: a server and a client of grpc.testing.TestService.
#
# Input:  the vectors' protos (PRISM_VECTORS, default ../shared/vectors), read in place.
# Output: $(GEN)/testing/grpc/testing/*.pb-c.{c,h}, $(OUT)/test/interop_{server,client}.
# Gives:  INTEROP_BINS, empty where the vectors are absent: tests/clients/test_interop.sh says so then.

INTEROP_PROTOS := $(or $(PRISM_VECTORS),../shared/vectors)/protos
INTEROP_GEN    := $(GEN)/testing
INTEROP_SRCS   := tests/fake/interop.c $(wildcard tests/clients/interop/*.c)

interop_names := grpc/testing/empty grpc/testing/messages grpc/testing/test
interop_gen   := $(interop_names:%=$(INTEROP_GEN)/%.pb-c)
interop_objs   = $(patsubst %.c,$(OUT)/obj/%.o,$(interop_gen:=.c))

ifneq ($(wildcard $(INTEROP_PROTOS)/grpc/testing/test.proto),)
INTEROP_BINS = $(OUT)/test/interop_server $(OUT)/test/interop_client
endif

$(interop_gen:=.c) $(interop_gen:=.h) &: $(wildcard $(interop_names:%=$(INTEROP_PROTOS)/%.proto)) build/protoc-gen-c3
	@mkdir -p $(INTEROP_GEN)
	@protoc --plugin=protoc-gen-c3=build/protoc-gen-c3 -I$(INTEROP_PROTOS) --c3_out=$(INTEROP_GEN) \
		$(interop_names:=.proto)
