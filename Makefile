# mailsync: `make' builds it, `make help' lists the rest.

EMACS ?= emacs
CARGO ?= cargo
export EMACS CARGO

# Where rustup puts its programs, for an Emacs that was not started from a shell, and where Debian
# puts Dovecot.
export PATH := $(PATH):$(HOME)/.cargo/bin:/usr/sbin

# Without native compilation, which would go on in the background.
batch := "$(EMACS)" -Q --batch --eval '(setq native-comp-deferred-compilation nil native-comp-jit-compilation nil)'

ifeq ($(shell uname),Darwin)
ext := dylib
else
ext := so
endif
target := $(or $(CARGO_TARGET_DIR),target)
built := $(target)/release/libmailsync_module.$(ext)
# Not called mailsync-module: `require' would find that before mailsync-module.el.
MODULE_DIR ?= lisp
module := $(MODULE_DIR)/mailsync-engine.$(ext)
sidecar := $(MODULE_DIR)/mailsync-engine.version
# Of a profile of its own, and so in a directory of its own.
program := $(target)/watch/mailsync-watch
version = $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)

# Where `make install' puts things, below DESTDIR.
PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
MANDIR ?= $(PREFIX)/share/man
INFODIR ?= $(PREFIX)/share/info
LISPDIR ?= $(PREFIX)/share/emacs/site-lisp/mailsync

.PHONY: all
all: module elc	## build the module and byte-compile the Lisp (the default)

# The version file says which module lies there.  It goes before the module is replaced and comes
# back after, so that whatever fails leaves no module known, never a wrong one.  The module is
# renamed into place: a running Emacs keeps the one that it has mapped.
.PHONY: module
module: toolchain	## build the module only
	"$(CARGO)" build --release --locked --lib --features module $(CARGOFLAGS)
	mkdir -p "$(MODULE_DIR)"
	cp "$(built)" "$(module).tmp"
	rm -f "$(sidecar)"
	mv -f "$(module).tmp" "$(module)"
	echo "$(version)" > "$(sidecar).tmp"
	mv -f "$(sidecar).tmp" "$(sidecar)"

# By itself, since what Emacs needs would be in it otherwise.
.PHONY: watch
watch: toolchain	## build mailsync-watch only, the program for servers
	"$(CARGO)" build --profile watch --locked --no-default-features --bin mailsync-watch
	@touch "$(program)" # also where nothing of what changed is in it

.PHONY: toolchain
toolchain:
	@test/toolchain.sh

# All of them when one has changed, since they use each other's macros and structures, or when
# another Emacs compiled them.
.PHONY: elc
elc:	## byte-compile the Lisp only
	@version=$$("$(EMACS)" --version | sed -n '1s/^GNU Emacs //p'); stale=; \
	for file in lisp/*.el; do \
	    { [ -e "$${file}c" ] && [ ! "$$file" -nt "$${file}c" ] && \
	        grep -aqF "in Emacs version $$version" "$${file}c"; } || stale=yes; \
	done; \
	if [ -n "$$stale" ]; then \
	    echo "Byte-compiling with Emacs $$version"; \
	    rm -f lisp/*.elc; \
	    $(batch) -L lisp -f batch-byte-compile lisp/*.el; \
	fi

# The manual, for C-h i.
INFO ?= doc/mailsync.info
.PHONY: info
info:	## the manual as doc/mailsync.info, from README.org
	@test/deps.sh info
	@mkdir -p "$(dir $(INFO))"
	$(batch) -l doc/info.el -f mailsync-info README.org "$(abspath $(INFO)).texi"
	makeinfo --no-split --fill-column=79 -o "$(INFO)" "$(INFO).texi"
	rm "$(INFO).texi"

# What is installed is of these sources.  Root may have no Rust: somebody else has built it then.
current = @[ -e "$(1)" ] && [ -z "$$(find src Cargo.toml Cargo.lock -newer "$(1)" | head -n 1)" ] || { \
	    command -v "$(CARGO)" >/dev/null || { \
	        echo "$(1) is not there, or older than its sources: run 'make $(2)' first, as a user who has Rust" >&2; \
	        exit 1; \
	    }; \
	    $(MAKE) $(2); \
	}

.PHONY: current-module current-watch
current-module:
	$(call current,$(module),all)

current-watch:
	$(call current,$(program),watch)

.PHONY: install
install: current-module install-watch	## install all (PREFIX=/usr/local, DESTDIR=)
	install -d "$(DESTDIR)$(LISPDIR)"
	install -m 644 lisp/*.el lisp/*.py "$(module)" "$(sidecar)" "$(DESTDIR)$(LISPDIR)"
	for file in lisp/*.elc; do \
	    [ ! -e "$$file" ] || install -m 644 "$$file" "$(DESTDIR)$(LISPDIR)"; \
	done
	if [ -e doc/mailsync.info ]; then \
	    install -d "$(DESTDIR)$(INFODIR)" && install -m 644 doc/mailsync.info "$(DESTDIR)$(INFODIR)"; \
	fi
	# What DESTDIR collects is a package, whose installation does this.
	if [ -e doc/mailsync.info ] && [ -z "$(DESTDIR)" ] && command -v install-info >/dev/null; then \
	    install-info "$(INFODIR)/mailsync.info" "$(INFODIR)/dir"; \
	fi

.PHONY: uninstall
uninstall:	## remove what `make install' put there
	rm -f "$(DESTDIR)$(BINDIR)/mailsync-watch" "$(DESTDIR)$(MANDIR)/man1/mailsync-watch.1"
	if [ -e "$(DESTDIR)$(INFODIR)/mailsync.info" ]; then \
	    [ -n "$(DESTDIR)" ] || ! command -v install-info >/dev/null || \
	        install-info --delete "$(INFODIR)/mailsync.info" "$(INFODIR)/dir"; \
	    rm -f "$(DESTDIR)$(INFODIR)/mailsync.info"; \
	fi
	rm -f "$(DESTDIR)$(LISPDIR)"/mailsync*.el "$(DESTDIR)$(LISPDIR)"/mailsync*.elc \
	    "$(DESTDIR)$(LISPDIR)"/mailsync*.py \
	    "$(DESTDIR)$(LISPDIR)/mailsync-engine.$(ext)" "$(DESTDIR)$(LISPDIR)/mailsync-engine.version"
	[ ! -d "$(DESTDIR)$(LISPDIR)" ] || rmdir "$(DESTDIR)$(LISPDIR)"

.PHONY: install-watch
install-watch: current-watch	## install mailsync-watch and its manual only: no Emacs is needed
	install -d "$(DESTDIR)$(BINDIR)" "$(DESTDIR)$(MANDIR)/man1"
	install -m 755 "$(program)" "$(DESTDIR)$(BINDIR)"
	install -m 644 doc/mailsync-watch.1 "$(DESTDIR)$(MANDIR)/man1"

.PHONY: dist
dist: toolchain	## make mailsync-VERSION.tar.xz, with all crates, which builds without a network
	@test/package/dist.sh .

.PHONY: demo
demo:	## watch mail arrive in a throwaway Gnus (without a terminal: a transcript)
	@test/deps.sh demo
	@$(MAKE) all
	@test/demo/demo.sh

.PHONY: test
test:	## lint, Rust and Lisp tests, end to end, on the installed Emacs and on Emacs 30
	@test/run.sh

.PHONY: lint
lint:	## format, clippy, byte-compiler, checkdoc, check-declare, package-lint, shellcheck
	@test/lint/lint.sh

.PHONY: bench
bench:	## measure, next to the alternatives
	@test/deps.sh bench
	@$(MAKE) all watch
	@test/bench/run.sh

.PHONY: guard
guard: toolchain	## do the hot paths need more instructions than they did? (UPDATE=1: note what they need)
	@test/deps.sh guard
	@UPDATE="$(UPDATE)" test/bench/guard.sh

.PHONY: torture
torture: toolchain	## what finds more the longer it goes on, for HOURS=8 in all (PARTS="kills sim", SEED=)
	@test/deps.sh test
	@test/torture.sh

# What it measures: samples.tsv, and soak.svg, which draws them.
OUT ?= test/.cache/soak
.PHONY: soak
soak:	## all that a user, servers and bad luck do, in one Emacs, for HOURS=1 (SEED=): does anything grow?
	@test/deps.sh test
	@$(MAKE) all watch
	HOURS="$(or $(HOURS),1)" OUT="$(abspath $(OUT))" test/sync.py mbsync verbatim tmux soak

.PHONY: day
day:	## a day's mail in a minute, with a user at a terminal; leaves screens to look at
	@test/deps.sh test
	@$(MAKE) all watch
	test/sync.py mbsync verbatim tmux day

# The library that draws is Debian's, and so of Debian's Python.
.PHONY: screenshots
screenshots:	## the pictures of the manual, anew, as doc/screenshots
	@test/deps.sh screenshots
	@$(MAKE) all watch
	$(or $(wildcard /usr/bin/python3),python3) test/screenshots.py doc/screenshots

.PHONY: clean
clean:	## remove what was built
	rm -f doc/mailsync.info lisp/*.elc "$(module)" "$(sidecar)" "$(module).tmp" "$(sidecar).tmp"
	[ -z "$$(command -v "$(CARGO)")" ] || "$(CARGO)" clean
	rm -rf test/.cache

.PHONY: help
help:	## this list
	@sed -n 's/^\([a-z-]*\):[^#]*##/\1\t/p' Makefile | expand -t 16
	@echo 'Variables: EMACS ($(EMACS)), CARGO ($(CARGO)), MODULE_DIR ($(MODULE_DIR): where the module goes)'
