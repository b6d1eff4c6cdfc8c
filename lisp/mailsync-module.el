;;; mailsync-module.el --- Find, verify, compile and load mailsync's module  -*- lexical-binding: t -*-

;; Copyright (C) 2026 The mailsync authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; The only file that knows where the module is and how it gets there.
;; Loading or byte-compiling it asks nothing, downloads nothing, builds
;; nothing; only the command `mailsync-module-compile' builds.  The version
;; is read from a file beside the module, before the module is loaded, since
;; a loaded one cannot be replaced without restarting Emacs.  Its file is not
;; called mailsync-module: `require' would find it before this one.

;;; Code:

(require 'mailsync-log)
(require 'mailsync-options)

;; compile.el comes with the first `compilation-start': it takes longer to load
;; than all of mailsync.

;;;; Internal variables

(defconst mailsync-module--version-wanted "0.1.0"
  "The version of the module that goes with this Lisp.")

(defconst mailsync-module--lisp-directory
  (file-name-directory (or load-file-name (locate-library "mailsync-module")
                           buffer-file-name default-directory))
  "Where this file is.")

;; A module that is loaded stays as it is until Emacs ends, whatever becomes of
;; its file: an upgrade that a running Emacs meets has to be noticed.
(defvar mailsync-module--loaded nil
  "What tells the file of the loaded module from another one; nil before that.")

(defvar mailsync-module--told nil
  "What told the file apart about which the user was told last.")

(define-error 'mailsync-error "Mailsync")
(define-error 'mailsync-module-error "Mailsync's module" 'mailsync-error)

;;;; Declarations

(defvar compilation-finish-functions)

;; The functions of the module; their docstrings are in src/module/mod.rs.
(declare-function mailsync-module--version "ext:mailsync-engine")

;;;; Code

(defun mailsync-module--file (&optional suffix)
  "The name of the module's file, or of the one with SUFFIX beside it."
  (expand-file-name (concat "mailsync-engine" (or suffix module-file-suffix))
                    (or mailsync-module-directory
                        mailsync-module--lisp-directory)))

(defun mailsync-module--version-found ()
  "The version of the module on disk, or nil where there is none."
  (let ((file (mailsync-module--file ".version")))
    (when (and (file-readable-p file)
               (file-exists-p (mailsync-module--file)))
      (with-temp-buffer
        (insert-file-contents file)
        (buffer-substring (point-min) (line-end-position))))))

(defun mailsync-module--fail (format &rest args)
  "Signal `mailsync-module-error' with FORMAT and ARGS."
  (signal 'mailsync-module-error (list (apply #'format format args))))

(defun mailsync-module--check-directory ()
  "Signal `mailsync-module-error' if somebody else may have put the module there.
Where it is beside the Lisp files, which may do as much, nothing is asked."
  (when mailsync-module-directory
    (unless (and (stringp mailsync-module-directory)
                 (file-name-absolute-p mailsync-module-directory)
                 (not (mailsync--remote-file-p mailsync-module-directory)))
      ;; It would be somewhere else in each buffer.
      (mailsync-module--fail "`mailsync-module-directory' is %S, \
but has to be the absolute name of a directory on this machine"
                             mailsync-module-directory))
    (dolist (file (list (mailsync-module--file)
                        (file-name-directory (mailsync-module--file))))
      (let ((modes (file-modes file)))
        (when (and modes (/= 0 (logand modes #o002)))
          (mailsync-module--fail
           "anybody may write to %s (chmod o-w forbids it), so the module \
there may be anybody's" file))))))

(defun mailsync-module-load ()
  "Load the module, unless it is loaded.
Signal `mailsync-module-error', which says what to do, if that is impossible."
  (unless module-file-suffix
    (mailsync-module--fail
     "this Emacs has no support for modules; install one built with it \
(Debian's emacs packages are), version 28.1 or later"))
  (if (fboundp 'mailsync-module--version)
      (progn
        (mailsync-module--verify (mailsync-module--version)
                                 "restart Emacs to use the one that matches")
        (mailsync-module--tell-if-replaced))
    (mailsync-module--check-directory)
    (let ((found (mailsync-module--version-found)))
      (mailsync-module--verify
       found
       (if (mailsync-module--newer-p found)
           "mailsync was upgraded while this Emacs ran: restart it; if that \
does not help, run M-x mailsync-module-compile"
         "run M-x mailsync-module-compile")))
    (let ((identity (mailsync-module--identity)))
      (condition-case err
          (module-load (mailsync-module--file))
        ((module-open-failed module-init-failed module-not-gpl-compatible)
         (mailsync-module--fail
          "%s cannot be loaded (%s): it was built for another system or is \
damaged; run M-x mailsync-module-compile"
          (mailsync-module--file) (error-message-string err))))
      (setq mailsync-module--loaded identity))))

(defun mailsync-module--newer-p (version)
  "Non-nil if VERSION is a later one than these Lisp files want."
  (and version
       (ignore-errors (version< mailsync-module--version-wanted version))))

(defun mailsync-module--identity ()
  "What tells the module's file from another one; nil if there is none."
  (let ((attributes (file-attributes (mailsync-module--file))))
    (and attributes
         (list (file-attribute-device-number attributes)
               (file-attribute-inode-number attributes)
               (file-attribute-size attributes)
               (file-attribute-modification-time attributes)))))

(defun mailsync-module-outdated (&optional now)
  "Why Emacs has to be restarted to use what is installed, or nil.
NOW is what identifies that, if it is known."
  (when (fboundp 'mailsync-module--version)
    (let ((now (or now (mailsync-module--identity))))
      (cond
       ((not (equal (mailsync-module--version) mailsync-module--version-wanted))
        (format "the loaded module is version %s, the Lisp files want %s"
                (mailsync-module--version) mailsync-module--version-wanted))
       ((and mailsync-module--loaded now
             (not (equal mailsync-module--loaded now)))
        "another module was put in the place of the loaded one")))))

(defun mailsync-module--tell-if-replaced ()
  "Say once that the module on disk is not the one that is loaded."
  (let* ((now (mailsync-module--identity))
         (why (mailsync-module-outdated now)))
    (when (and why (not (equal mailsync-module--told now)))
      (setq mailsync-module--told now)
      (mailsync-log-add 'warning "%s; restart Emacs to use it" why)
      (mailsync--say "%s; restart Emacs to use it" why))))

(defun mailsync-module--verify (found remedy)
  "Signal an error with REMEDY unless FOUND is the wanted version."
  (cond
   ((null found)
    (mailsync-module--fail
     "%s is not there; %s"
     (let ((module (mailsync-module--file)))
       (if (file-exists-p module)
           ;; It was not put there whole.
           (format "%s, which belongs to %s," (mailsync-module--file ".version")
                   (file-name-nondirectory module))
         module))
     remedy))
   ((not (equal found mailsync-module--version-wanted))
    (mailsync-module--fail "the module is version %s, the Lisp files want %s; %s"
                           found mailsync-module--version-wanted remedy))))

(defun mailsync-module--source ()
  "The directory with the module's sources, or nil."
  (locate-dominating-file mailsync-module--lisp-directory "Cargo.toml"))

;;;###autoload
(defun mailsync-module-compile ()
  "Build the module from source, in a buffer that shows how.
The new module is put in place when it is complete."
  (interactive)
  (let ((source (mailsync-module--source)))
    (unless source
      (mailsync-module--fail "no Cargo.toml above %s: install mailsync with its \
sources, see \"Installation\" in README.org"
                             mailsync-module--lisp-directory))
    (dolist (program '("cargo" "make"))
      (unless (executable-find program)
        (mailsync-module--fail
         "the program %s is not in `exec-path'; %s" program
         (if (equal program "cargo")
             "install Rust 1.88 or later from https://rustup.rs, and start \
Emacs where ~/.cargo/bin is in PATH"
           "install it (Debian: apt install make gcc)"))))
    (let* ((default-directory (expand-file-name source))
           (directory (directory-file-name (file-name-directory
                                            (mailsync-module--file))))
           (command (format "make module MODULE_DIR=%s"
                            (shell-quote-argument directory))))
      (with-current-buffer (compilation-start command nil
                                              (lambda (_mode) "*mailsync-module*"))
        (add-hook 'compilation-finish-functions #'mailsync-module--finished
                  nil t)
        (display-buffer (current-buffer))))))

(defun mailsync-module--finished (_buffer how)
  "Say what to do after a compilation that ended as HOW."
  (message "mailsync: %s"
           (cond
            ((not (string-prefix-p "finished" how))
             "building the module failed; the buffer *mailsync-module* says why")
            ((not (fboundp 'mailsync-module--version))
             "the module is built; M-x mailsync-start uses it")
            ((equal (mailsync-module--version) (mailsync-module--version-found))
             "the module is built; a restart of Emacs uses it")
            (t "a new version of the module is built; restart Emacs to use it"))))

;;;###autoload
(defun mailsync-version ()
  "Say which version this is; return it."
  (interactive)
  (let ((text (format "mailsync %s (module %s), Emacs %s"
                      mailsync-module--version-wanted
                      (or (mailsync-module--version-found) "not there")
                      emacs-version)))
    (when (called-interactively-p 'interactive)
      (message "%s" text))
    text))

(provide 'mailsync-module)
;;; mailsync-module.el ends here
