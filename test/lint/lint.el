;;; lint.el --- The checks of `make lint' that Emacs does  -*- lexical-binding: t -*-

;;; Commentary:

;; Each is a function for `emacs -Q --batch -l .../lint.el -f FUNCTION FILE...',
;; which exits with 1 when there is something to say.

;;; Code:

(require 'bytecomp)
(require 'cl-lib)
(require 'check-declare)
(require 'checkdoc)
(require 'package)
(require 'subr-x)

(defvar package-lint-main-file)
(declare-function package-lint-buffer "ext:package-lint" (&optional buffer))

(defconst lint-package-accepted
  '(;; The names of mailsync 0.4, kept as obsolete aliases.
    "\\`\"mailsync/gnus-check\\(?:-handler\\)?\" contains a non-standard separator"
    ;; It was released before Emacs 28.1 was.
    "\\`This makes the package uninstallable in all released Emacs versions"
    ;; mailsync joins Gnus when the user loads it, and never loads it by itself.
    "\\``\\(?:with-\\)?eval-after-load' is for use in configurations")
  "Regexps for what package-lint says that is as it should be.")

(defun lint--files ()
  "The files that the command line names."
  (prog1 (mapcar #'expand-file-name command-line-args-left)
    (setq command-line-args-left nil)))

(defun lint--report (file line text)
  "Print TEXT about FILE, at LINE or at none when that is nil."
  (message "%s:%s %s" (file-relative-name file) (if line (format "%d:" line) "") text))

(defun lint-byte-compile ()
  "Compile copies of the files; a warning is an error.
In their own directory there may be what another Emacs compiled."
  (let* ((directory (make-temp-file "lint" t))
         (load-path (cons directory load-path))
         (byte-compile-error-on-warn t)
         (ok t))
    (unwind-protect
        (let ((copies (mapcar (lambda (file)
                                (let ((copy (expand-file-name (file-name-nondirectory file)
                                                              directory)))
                                  (copy-file file copy)
                                  copy))
                              (lint--files))))
          (dolist (file copies)
            (unless (eq (byte-compile-file file) t)
              (setq ok nil))))
      (delete-directory directory t))
    (kill-emacs (if ok 0 1))))

(defun lint-checkdoc ()
  "Check the doc strings of the files."
  (let ((checkdoc-diagnostic-buffer "*lint*")
        ;; It takes any verb of the first sentence for its main verb.
        (checkdoc-verb-check-experimental-flag nil)
        (ok t))
    (dolist (file (lint--files))
      (with-current-buffer (find-file-noselect file)
        (cl-letf* ((checkdoc-autofix-flag 'never)
                   (checkdoc-create-error-function
                    (lambda (text start _end &optional _unfixable)
                      (setq ok nil)
                      (lint--report file (and start (line-number-at-pos start)) text)
                      nil)))
          (checkdoc-current-buffer t))))
    (kill-emacs (if ok 0 1))))

;; check-declare looks for definitions in Lisp and C; those of a module show
;; when it is loaded.
(defun lint--verify-declared (verify file declarations)
  "Call VERIFY with FILE and DECLARATIONS, or ask the module if that is FILE.
Each of DECLARATIONS is (DECLARING-FILE FUNCTION ARGLIST FILEONLY); the value
is a list of errors (DECLARING-FILE FUNCTION TEXT)."
  (setq file (string-remove-prefix "ext:" file))
  (if (not (and module-file-suffix (string-suffix-p module-file-suffix file)))
      (funcall verify file declarations)
    (funcall 'module-load (expand-file-name file)) ; not in every Emacs
    (cl-loop for (declaring name arglist _) in declarations
             for function = (intern name)
             for text = (cond
                         ((not (fboundp function)) "function not found")
                         ((not (or (eq arglist t)
                                   (equal (func-arity function)
                                          (byte-compile-arglist-signature arglist))))
                          "arglist mismatch"))
             when text collect (list declaring name text))))

(defun lint-check-declare ()
  "Check that the files' `declare-function' forms are true."
  (advice-add 'check-declare-verify :around #'lint--verify-declared)
  (kill-emacs (if (apply #'check-declare-files (lint--files)) 1 0)))

(defun lint-package ()
  "Check the files with package-lint, which needs no network for them."
  (require 'package-lint)
  (setq package-lint-main-file (expand-file-name "lisp/mailsync.el")
        ;; Nothing but Emacs is required, so there is nothing to look up in an archive.
        package-archives nil)
  (package-initialize)
  (let ((text-quoting-style 'grave)
        (ok t))
    (dolist (file (lint--files))
      (with-temp-buffer
        (insert-file-contents file t)
        (emacs-lisp-mode)
        (pcase-dolist (`(,line ,_column ,_type ,text) (package-lint-buffer))
          (unless (cl-some (lambda (regexp) (string-match-p regexp text)) lint-package-accepted)
            (setq ok nil)
            (lint--report file line text)))
        (set-buffer-modified-p nil)))
    (kill-emacs (if ok 0 1))))

(provide 'lint)
;;; lint.el ends here
