;;; lint.el --- The checks of `make lint' that Emacs does  -*- lexical-binding: t -*-

;;; Commentary:

;; Each is a function for `emacs -Q --batch -L lisp -l test/lint/lint.el -f FUNCTION FILE...'; Emacs
;; exits with 1 when there is something to say.

;;; Code:

(require 'cl-lib)

(defvar package-lint-main-file)
(declare-function package-lint-buffer "ext:package-lint" (&optional buffer))
(declare-function check-declare-files "check-declare" (&rest files))
(declare-function checkdoc-current-buffer "checkdoc" (&optional take-notes))

(defconst lint-package-accepted
  '(;; The names of mailsync 0.4, kept as obsolete aliases.
    "\\`\"mailsync/gnus-check\\(?:-handler\\)?\" contains a non-standard separator"
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
  "Compile the files into a scratch directory; a warning is an error."
  (let* ((directory (make-temp-file "lint" t))
         (byte-compile-dest-file-function
          (lambda (file)
            (expand-file-name (concat (file-name-nondirectory file) "c") directory)))
         (byte-compile-error-on-warn t)
         (load-prefer-newer t)
         (ok t))
    (unwind-protect
        (dolist (file (lint--files))
          (unless (eq (byte-compile-file file) t)
            (setq ok nil)))
      (delete-directory directory t))
    (kill-emacs (if ok 0 1))))

(defun lint-checkdoc ()
  "Check the doc strings of the files."
  (require 'checkdoc)
  (let ((checkdoc-diagnostic-buffer "*lint*")
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

(defun lint-check-declare ()
  "Check that the files' `declare-function' forms are true."
  (require 'check-declare)
  (let ((errors (apply #'check-declare-files (lint--files))))
    (when errors
      (message "%s" (with-current-buffer check-declare-warning-buffer (buffer-string))))
    (kill-emacs (if errors 1 0))))

(defun lint-package ()
  "Check the files with package-lint, which needs no network for them."
  (require 'package-lint)
  (require 'package)
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
