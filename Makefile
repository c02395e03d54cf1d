# massv. `make help` lists what to type.
BUILD    ?= build
PREFIX   ?= /usr/local
SANITIZE ?=
CHAOS_SECONDS ?= 180
FUZZ_SECONDS ?= 60
# All cores, unless the user said -j himself. V=1 shows the commands.
JOBS      = $(if $(findstring j,$(firstword -$(MAKEFLAGS))),,-j$(shell nproc))
Q        := $(if $(V),,@)
CC       := gcc
CLANG_FORMAT := clang-format
PYTHON   := /usr/bin/python3
CFLAGS   ?= -O2 -g
WARNINGS := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wvla \
            -Wno-format-truncation -Werror  # texts of fixed size are cut short on purpose
ALL_CFLAGS = -std=c11 -D_GNU_SOURCE -ffp-contract=off -pthread -I. -I$(BUILD) $(WARNINGS) $(CFLAGS) -MMD -MP
ALL_LDFLAGS = -pthread $(LDFLAGS)
ifneq ($(SANITIZE),)
ALL_CFLAGS  += -fsanitize=$(SANITIZE) -fno-sanitize-recover=undefined -fno-omit-frame-pointer
ALL_LDFLAGS += -fsanitize=$(SANITIZE)
endif
LIBS     := -lgrpc -lgpr -lprotobuf-c -ljansson -lpcre2-8 -lutf8proc -ljpeg -lpng -lwebp -lwebpdemux -lexif -lxxhash -lmicrohttpd -ldl -lm
MPI_CFLAGS = $(shell mpicc --showme:compile 2>/dev/null)
MPI_LIBS   = $(shell mpicc --showme:link 2>/dev/null)

FOLDERS  := base kernels kernels/cpu kernels/cuda cluster proto speculate model coordinator worker train cli
SOURCES  := $(foreach f,$(FOLDERS),$(wildcard $(f)/*.c))
MPI_ONLY := cluster/comm_mpi.c
MAINS    := $(wildcard */main*.c)
LIBRARY  := $(filter-out $(MPI_ONLY) $(MAINS),$(SOURCES))
PROTOS   := $(wildcard proto/*.proto)
PROTO_PATHS := -I. -I/usr/share/grpc-proto
PB_C     := $(PROTOS:%.proto=$(BUILD)/%.pb-c.c) $(BUILD)/grpc/reflection/v1/reflection.pb-c.c
# What the public port speaks, by the names that clients know the files by.
PUBLIC_PROTOS := massv.proto kserve.proto grpc/health/v1/health.proto $(addsuffix /reflection.proto,grpc/reflection/v1 grpc/reflection/v1alpha)
PUBLIC_PATHS := -Iproto -Igrpc/health/v1/health.proto=proto/health.proto -I/usr/share/grpc-proto
TSAN_TESTS := $(patsubst %.c,%,$(foreach f,proto coordinator worker,$(wildcard tests/$(f)/test_*.c)))
TESTS    := $(wildcard tests/*/test_*.c)
MPI_TESTS := $(wildcard tests/*/mpi_*.c)
FUZZERS  := $(wildcard tests/fuzz/fuzz_*.c)
TEST_PROGRAMS := $(patsubst %.c,$(BUILD)/%,$(TESTS) $(MPI_TESTS) $(FUZZERS))
BENCHES  := $(patsubst %.c,$(BUILD)/%,$(wildcard bench/*.c))
PROGRAMS := $(addprefix $(BUILD)/bin/,massv massv-mpi massv-coordinator massv-worker massv-train)

MAN_PAGES := massv massv-coordinator massv-worker 'massv up' 'massv generate' 'massv chat' 'massv top' 'massv dump' 'massv inspect' 'massv eval' 'massv bench kernels' 'massv bench step' 'massv bench collectives' 'massv bench serve' massv-train 'massv-train project' 'massv-train distill' 'massv-train tune' 'massv-train export'

.PHONY: all test transformers demo bench study asan tsan chaos fuzz lint format install clean help setup build tests
.PRECIOUS: $(BUILD)/%.o $(BUILD)/%.pb-c.c
all: setup
	@$(MAKE) --no-print-directory $(JOBS) build
build: $(PROGRAMS)
	@:
tests: $(PROGRAMS) $(TEST_PROGRAMS) $(BENCHES)
	@:

help:
	@echo "make           install the missing Debian packages, build everything into $(BUILD)/bin"
	@echo "make demo      build, start a service on two ranks, ask it about pictures with and without a drafter"
	@echo "make test      build and run all tests; TESTS_ONLY=word runs those whose name has it, TESTS_ONLY=\"a or b\" those that have either"
	@echo "make transformers  compare exported drafters with Hugging Face transformers; brings gigabytes from PyPI into $(BUILD)/transformers"
	@echo "make asan      all tests under the address and undefined-behaviour sanitizers"
	@echo "make tsan      the tests of proto, coordinator and worker under the thread sanitizer"
	@echo "make chaos     kill and stop the processes of a service under load, CHAOS_SECONDS=$(CHAOS_SECONDS) from SEED=... (printed); compare all answers"
	@echo "make fuzz      every parser of foreign bytes under libFuzzer for FUZZ_SECONDS=$(FUZZ_SECONDS) each; FUZZ=\"image step\" runs those"
	@echo "make bench     every figure of docs/bench.md on this machine, some ten minutes; PARTS=\"open ranks\" runs those"
	@echo "make study     MASSV in small, from fresh data to a report in $(BUILD)/study/docs; STAGES=\"data compare\" does those"
	@echo "make lint      floors, format, warnings as errors;  make format rewrites the format"
	@echo "make install   PREFIX=$(PREFIX)"
	@echo "make clean     remove $(BUILD)/"

setup:
	@.ci/setup

test: setup
	@$(MAKE) --no-print-directory $(JOBS) tests
	@BUILD=$(BUILD) tests/run "$(TESTS_ONLY)"

transformers: setup
	@MASSV_TRANSFORMERS=1 $(MAKE) --no-print-directory test TESTS_ONLY=transformers

demo: all
	@BUILD=$(BUILD) cli/demo.sh

bench: setup
	@$(MAKE) --no-print-directory $(JOBS) build $(BENCHES)
	@BUILD=$(BUILD) bench/run $(PARTS)

study: all
	@bench/study/run --build $(BUILD) $(STAGES)

asan: setup
	@$(MAKE) --no-print-directory BUILD=build/asan SANITIZE=address,undefined CFLAGS="-O1 -g" test

tsan: setup
	@$(MAKE) --no-print-directory BUILD=build/tsan SANITIZE=thread CFLAGS="-O1 -g" $(TSAN_TESTS:%=build/tsan/%)
	@for t in $(TSAN_TESTS); do TSAN_OPTIONS="suppressions=tests/tsan.supp" build/tsan/$$t || exit 1; done

chaos: all
	@BUILD=$(BUILD) tests/system/chaos.py --seconds $(CHAOS_SECONDS) $(if $(SEED),--seed $(SEED))

fuzz: setup
	@.ci/setup fuzz
	@$(MAKE) --no-print-directory $(JOBS) build
	@BUILD=$(BUILD) tests/fuzz/run $(FUZZ_SECONDS) $(FUZZ)

lint: setup
	@.ci/floors
	@$(CLANG_FORMAT) --dry-run --Werror $$(git ls-files -co --exclude-standard '*.c' '*.h')
	@$(MAKE) --no-print-directory $(JOBS) tests

format:
	@$(CLANG_FORMAT) -i $$(git ls-files -co --exclude-standard '*.c' '*.h')

install: all
	install -d "$(DESTDIR)$(PREFIX)/bin"
	install $(PROGRAMS) "$(DESTDIR)$(PREFIX)/bin"
	install -d "$(DESTDIR)$(PREFIX)/share/man/man1" "$(DESTDIR)$(PREFIX)/share/bash-completion/completions"
	for words in $(MAN_PAGES); do \
		cli/man.sh $(BUILD)/bin/$$words >"$(DESTDIR)$(PREFIX)/share/man/man1/$$(echo $$words | tr ' ' -).1" || exit 1; done
	install -m 644 cli/massv.bash "$(DESTDIR)$(PREFIX)/share/bash-completion/completions/massv"
	ln -sf massv "$(DESTDIR)$(PREFIX)/share/bash-completion/completions/massv-train"

clean:
	rm -rf $(BUILD)

# Messages: .proto -> C, only into $(BUILD).
vpath %.proto /usr/share/grpc-proto
$(BUILD)/%.pb-c.c $(BUILD)/%.pb-c.h: %.proto
	@mkdir -p $(@D)
	@echo "  PROTO $@"
	$(Q)protoc-c $(PROTO_PATHS) --c_out=$(BUILD) $<
$(patsubst %.c,$(BUILD)/%.o,$(wildcard proto/*.c tests/proto/*.c)): | $(PB_C)
# And as data, which reflection hands out.
$(BUILD)/proto/descriptors.inc: $(PROTOS)
	@mkdir -p $(@D)
	@echo "  PROTO $@"
	$(Q)protoc $(PUBLIC_PATHS) --include_imports --descriptor_set_out=$(@:.inc=.set) $(PUBLIC_PROTOS)
	$(Q)od -An -v -tx1 $(@:.inc=.set) | sed 's/[0-9a-f][0-9a-f]/0x&,/g' >$@
$(BUILD)/proto/descriptors.o: $(BUILD)/proto/descriptors.inc
$(BUILD)/%.pb-c.o: $(BUILD)/%.pb-c.c
	@echo "  CC    $@"
	$(Q)$(CC) -std=c11 -O2 -I$(BUILD) -c -o $@ $<

# Instruction sets: each file of kernels/cpu is compiled for its own; which one runs is chosen at run time.
$(BUILD)/kernels/cpu/%_avx2.o: ISA := -O3 -mavx2 -mfma -mf16c
$(BUILD)/kernels/cpu/%_avx512.o: ISA := -O3 -mavx512f -mavx512bw -mavx512vl -mavx512dq -mfma -mf16c
$(BUILD)/kernels/cpu/%_avx512bf16.o: ISA := -O3 -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512bf16 -mfma -mf16c
$(BUILD)/kernels/cpu/%.o: ISA += -O3
$(BUILD)/cluster/comm_mpi.o: ISA := -O3 $(MPI_CFLAGS)

$(BUILD)/%.o: %.c Makefile
	@mkdir -p $(@D)
	@echo "  CC    $@"
	$(Q)$(CC) $(ALL_CFLAGS) $(ISA) -c -o $@ $<

# P: members are told apart by their whole paths; two folders may have a file of one name.
$(BUILD)/libmassv.a: $(LIBRARY:%.c=$(BUILD)/%.o) $(PB_C:.c=.o)
	@rm -f $@
	@echo "  AR    $@"
	$(Q)ar rcsP $@ $^

LINK = $(Q)echo "  LD    $@"; mkdir -p $(@D); $(CC) $(ALL_LDFLAGS) -o $@
$(BUILD)/bin/massv: $(BUILD)/cli/main.o $(BUILD)/libmassv.a
	$(LINK) $^ $(LIBS)
$(BUILD)/bin/massv-mpi: $(BUILD)/cli/main_mpi.o $(BUILD)/cluster/comm_mpi.o $(BUILD)/libmassv.a
	$(LINK) $^ $(LIBS) $(MPI_LIBS)
$(BUILD)/bin/massv-coordinator: $(BUILD)/coordinator/main.o $(BUILD)/libmassv.a
	$(LINK) $^ $(LIBS)
$(BUILD)/bin/massv-train: $(BUILD)/train/main.o $(BUILD)/cluster/comm_mpi.o $(BUILD)/libmassv.a
	$(LINK) $^ $(LIBS) $(MPI_LIBS)
$(BUILD)/bin/massv-worker: $(BUILD)/worker/main.o $(BUILD)/cluster/comm_mpi.o $(BUILD)/libmassv.a
	$(LINK) $^ $(LIBS) $(MPI_LIBS)
$(BUILD)/tests/%: $(BUILD)/tests/%.o $(BUILD)/libmassv.a
	$(LINK) $(filter %.o,$^) $(filter %.a,$^) -lcmocka $(LIBS) $(if $(filter mpi_%,$(@F)),$(MPI_LIBS))
$(BUILD)/bench/%: $(BUILD)/bench/%.o $(BUILD)/libmassv.a
	$(LINK) $^ $(LIBS)
$(MPI_TESTS:%.c=$(BUILD)/%): $(BUILD)/cluster/comm_mpi.o
$(FUZZERS:%.c=$(BUILD)/%): $(BUILD)/tests/fuzz/replay.o
$(patsubst %.c,$(BUILD)/%,$(wildcard tests/coordinator/test_*.c)): $(BUILD)/tests/coordinator/stage.o $(BUILD)/tests/coordinator/stage_group.o

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
