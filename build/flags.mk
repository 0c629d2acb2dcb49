# Compiler and linker flags. FLAVOR: release, debug, asan (ASan + UBSan), tsan, fuzz (clang, for
# `make fuzz` alone).

CFLAGS_COMMON = -std=gnu17 -D_GNU_SOURCE -g -Wall -Wextra -Wshadow -Wstrict-prototypes \
    -Wmissing-prototypes -Wvla -Walloca -Wformat=2 -Wundef -fno-common \
    -fvisibility=hidden -ffunction-sections -fdata-sections -MMD -MP
CFLAGS_HARD = -fstack-protector-strong -fstack-clash-protection -fcf-protection=full -fPIE

ifeq ($(FLAVOR),release)
CFLAGS_FLAVOR = -O2 $(CFLAGS_HARD) -Wframe-larger-than=2048
CFLAGS_FORTIFY = -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3
LDFLAGS_FLAVOR = -pie -Wl,-z,relro,-z,now,-z,noexecstack
else ifeq ($(FLAVOR),debug)
CFLAGS_FLAVOR = -O0 $(CFLAGS_HARD)
LDFLAGS_FLAVOR = -pie
else ifeq ($(FLAVOR),asan)
CFLAGS_FLAVOR = -O1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined
LDFLAGS_FLAVOR = -fsanitize=address,undefined
else ifeq ($(FLAVOR),tsan)
CFLAGS_FLAVOR = -O1 -fno-omit-frame-pointer -fsanitize=thread
LDFLAGS_FLAVOR = -fsanitize=thread
else ifeq ($(FLAVOR),fuzz)
CC = clang
CFLAGS_FLAVOR = -O1 -fno-omit-frame-pointer -fsanitize=fuzzer-no-link,address,undefined \
    -fno-sanitize-recover=undefined
LDFLAGS_FLAVOR = -fsanitize=fuzzer,address,undefined
else
$(error FLAVOR is release, debug, asan, tsan or fuzz, not '$(FLAVOR)')
endif

# CI=true and `make check` turn warnings into errors.
ifdef WERROR
CFLAGS_COMMON += -Werror
endif

PACKAGES = libcurl libprotobuf-c libuv openssl jansson yaml-0.1 sqlite3 libmicrohttpd libzip expat hiredis zlib
PKG_CFLAGS := $(shell pkg-config --cflags $(PACKAGES) 2>/dev/null)
# gRPC's own .pc names about ninety libraries, grpc_unsecure among them: by hand.
PKG_LIBS := -lgrpc -lgpr $(shell pkg-config --libs $(PACKAGES) 2>/dev/null) -lpthread -lm
