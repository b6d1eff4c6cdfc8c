;;; options.el --- Is the manual in agreement with the Lisp?  -*- lexical-binding: t -*-

;;; Commentary:

;; lint.sh has the line that runs `lint-options', which exits with 1 when there is something to say.
;;
;; The manual documents an option in a table with the columns "option" and "default", or in a list,
;; "- =NAME= :: ... Default: =VALUE=."; one that is also a key of accounts in a table with the columns
;; "option, key" and "default"; a hook in a table with the column "hook", and nil is the default of
;; all of them; all other keys in tables with the columns "key" and "default".

;;; Code:

(require 'cl-lib)
(require 'seq)
(require 'subr-x)

(defvar mailsync-accounts--delays)
(defvar mailsync-accounts--keys)
(defvar mailsync-imap--keys)
(defvar mailsync-imap--poll)
(defvar mailsync-imap--refresh)
(defvar mailsync-syncers--keys)

(defconst lint-options--not-lisp
  '("mailsync-watch" "mailsync-engine" "mailsync-UID" "mailsync-VERSION")
  "Names in the manual that are programs, modules and directories.")

(defconst lint-options--not-ours
  '(":vc" ":url" ":rev" ":newest" ":lisp-dir" ":make" ":path" ":server")
  "Keys in the manual that are of `use-package' and `mail-sources'.")

(defvar lint-options--faults nil
  "What is not right, the last one first.")

(defun lint-options--fault (format &rest args)
  "Note a fault, FORMAT with ARGS."
  (push (apply #'format-message format args) lint-options--faults))

(defun lint-options--sources ()
  "The files of mailsync."
  (directory-files (file-name-directory (locate-library "mailsync.el"))
                   t "\\`mailsync.*\\.el\\'"))

(defun lint-options--load ()
  "Load all of mailsync, from copies of its sources.
In their own directory there may be what another Emacs compiled."
  (let* ((directory (make-temp-file "lint" t))
         (files (lint-options--sources))
         (load-path (cons directory load-path)))
    (unwind-protect
        (progn
          (dolist (file files)
            (copy-file file (expand-file-name (file-name-nondirectory file) directory)))
          (dolist (file files)
            (require (intern (file-name-base file)))))
      (delete-directory directory t))))

(defun lint-options--declared ()
  "The options that the sources define."
  (let ((found nil))
    (dolist (file (lint-options--sources))
      (with-temp-buffer
        (insert-file-contents file)
        (while (re-search-forward "^(defcustom \\([^ \n]+\\)" nil t)
          (push (intern (match-string 1)) found))))
    found))

(defun lint-options--commands ()
  "The commands that the sources have autoloaded."
  (let ((found nil))
    (dolist (file (lint-options--sources))
      (with-temp-buffer
        (insert-file-contents file)
        (while (re-search-forward
                "^;;;###autoload\n(\\(?:cl-\\)?def[a-z-]+ \\(mailsync-[^ \n]+\\)" nil t)
          (let ((name (intern (match-string 1))))
            (when (commandp name)
              (push name found))))))
    found))

(defun lint-options--cells (line)
  "The cells of LINE, a row of a table."
  (mapcar #'string-trim (split-string (string-trim line "[ \t]*|" "|[ \t]*") "|")))

(defun lint-options--tables ()
  "The tables of the current buffer, each a list of rows, which are lists of cells."
  (let ((tables nil) (table nil))
    (goto-char (point-min))
    (while (not (eobp))
      (let ((line (buffer-substring (line-beginning-position) (line-end-position))))
        (cond ((not (string-match-p "\\`[ \t]*|" line))
               (when table
                 (push (nreverse table) tables))
               (setq table nil))
              ((not (string-match-p "\\`[ \t]*|-" line))
               (push (lint-options--cells line) table))))
      (forward-line 1))
    (when table
      (push (nreverse table) tables))
    (nreverse tables)))

(defun lint-options--code (cell)
  "What stands between the first equal signs of CELL, or else all of it."
  (if (string-match "=\\([^=|]+\\)=" cell) (match-string 1 cell) cell))

(defun lint-options--rows (table &rest columns)
  "Of each row of TABLE the cells under COLUMNS, a list, if it has them all."
  (let ((places (mapcar (lambda (column) (seq-position (car table) column)) columns)))
    (unless (memq nil places)
      (mapcar (lambda (row) (mapcar (lambda (place) (or (nth place row) "")) places))
              (cdr table)))))

(defun lint-options--documented (tables)
  "What TABLES and the current buffer document.
The value is a list of (NAME . DEFAULT), both strings."
  (let ((found nil))
    (dolist (table tables)
      (pcase-dolist (`(,option ,default) (or (lint-options--rows table "option" "default")
                                             (lint-options--rows table "option, key" "default")))
        (when (string-match "=\\(mailsync-[a-z0-9-]+\\)=" option)
          (push (cons (match-string 1 option) (lint-options--code default)) found)))
      (pcase-dolist (`(,hook) (lint-options--rows table "hook"))
        (push (cons (lint-options--code hook) "nil") found)))
    (goto-char (point-min))
    (while (re-search-forward "^- =\\(mailsync-[a-z0-9-]+\\)= ::" nil t)
      (let ((name (match-string 1))
            (end (save-excursion
                   (if (re-search-forward "^\\(?:- \\|\\*\\|#\\|\n\\)" nil t)
                       (match-beginning 0)
                     (point-max)))))
        (when (re-search-forward "\\<Default:[ \n]+=\\([^=]+\\)=" end t)
          (push (cons name (match-string 1)) found))))
    found))

(defun lint-options--check-options (documented)
  "Is each option there once in DOCUMENTED, with its default?"
  (dolist (option (lint-options--declared))
    (let ((entries (seq-filter (lambda (entry) (equal (car entry) (symbol-name option)))
                               documented))
          (value (eval (car (get option 'standard-value)) t)))
      (cond
       ((null entries)
        (lint-options--fault "%s is not documented with its default, %S" option value))
       ((cdr entries)
        (lint-options--fault "%s is documented %d times" option (length entries)))
       ((not (equal value (ignore-errors (car (read-from-string (cdar entries))))))
        (lint-options--fault "%s is %S by default, not %s" option value (cdar entries))))))
  (dolist (entry documented)
    (unless (memq (intern (car entry)) (lint-options--declared))
      (lint-options--fault "%s has a default, but is no option" (car entry)))))

(defun lint-options--place (option)
  "Where the current buffer documents OPTION: its row, or its entry in a list."
  (goto-char (point-min))
  (and (re-search-forward (format "^\\(?:- \\|| *\\)=%s=" (regexp-quote (symbol-name option)))
                          nil t)
       (point)))

(defun lint-options--check-order (group)
  "Are the options of GROUP, and below it, in the order of the current buffer?"
  (let ((last 0) (before nil))
    (pcase-dolist (`(,member ,type) (get group 'custom-group))
      (pcase type
        ('custom-group
         (lint-options--check-order member))
        ('custom-variable
         (let ((place (and (memq member (lint-options--declared))
                           (lint-options--place member))))
           (when place
             (when (< place last)
               (lint-options--fault "%s comes before %s in the manual, and after it in Customize"
                                    member before))
             (setq last place
                   before member))))))))

(defun lint-options--check-restart ()
  "Does the current buffer name all that is read at the start alone?"
  (goto-char (point-min))
  (if (not (re-search-forward "^What Customize sets is in force at once\\.\\(?:.+\n\\)+" nil t))
      (lint-options--fault "it is not said when an option that is set is in force")
    (let ((named (mapcar #'cdr mailsync-accounts--delays))
          (text (match-string 0))
          (start 0))
      (while (string-match "=\\(mailsync-[a-z-]+\\)=" text start)
        (setq start (match-end 0))
        (push (intern (match-string 1 text)) named))
      (dolist (option (cl-set-exclusive-or
                       named
                       (seq-filter (lambda (option)
                                     (let ((set (get option 'custom-set)))
                                       (and set (symbolp set))))
                                   (lint-options--declared))))
        (lint-options--fault "whether %s is read at the start alone, the manual does not say rightly"
                             option)))))

(defun lint-options--check-delays (tables)
  "Have TABLES each delay with the key of an account?  Return those keys."
  (let ((found nil))
    (dolist (table tables)
      (pcase-dolist (`(,cell) (lint-options--rows table "option, key"))
        (when (string-match "=\\(mailsync-[a-z0-9-]+\\)=, =\\(:[a-z-]+\\)=" cell)
          (push (cons (intern (match-string 2 cell)) (intern (match-string 1 cell))) found))))
    (dolist (entry (cl-set-exclusive-or found mailsync-accounts--delays :test #'equal))
      (lint-options--fault "%s and %s go together in the options or in the manual alone"
                           (car entry) (cdr entry)))
    (mapcar #'car found)))

(defun lint-options--keys (tables first)
  "The keys in that one of TABLES whose first key is FIRST.
The value is a list of (KEY . DEFAULT)."
  (seq-some (lambda (table)
              (let ((rows (lint-options--rows table "key" "default")))
                (and (equal (lint-options--code (or (caar rows) "")) first)
                     (mapcar (lambda (row)
                               (cons (intern (lint-options--code (car row))) (cadr row)))
                             rows))))
            tables))

(defun lint-options--same-keys (what documented keys)
  "Are the keys of WHAT that are DOCUMENTED those that KEYS has?"
  (dolist (key (cl-set-difference keys documented))
    (lint-options--fault "%s, a key of %s, is not documented" key what))
  (dolist (key (cl-set-difference documented keys))
    (lint-options--fault "%s is no key of %s" key what)))

(defun lint-options--check-keys (tables)
  "Have TABLES and the docstrings all keys, of accounts and of IMAP servers?"
  (let ((account (mapcar #'car (lint-options--keys tables ":maildir")))
        (imap (lint-options--keys tables ":host"))
        (delays (lint-options--check-delays tables))
        (docstring (documentation-property 'mailsync-accounts 'variable-documentation t)))
    (lint-options--same-keys "an account" (seq-uniq (append account delays))
                             (mapcar #'car mailsync-accounts--keys))
    (lint-options--same-keys "(imap ...)" (mapcar #'car imap) (mapcar #'car mailsync-imap--keys))
    (dolist (key (append (cl-set-difference (mapcar #'car mailsync-accounts--keys) delays)
                         (mapcar #'car mailsync-imap--keys)))
      (unless (string-search (format "`%s'" key) docstring)
        (lint-options--fault "the documentation of `mailsync-accounts' says nothing of %s" key)))
    (pcase-dolist (`(,key . ,value) `((:idle-refresh . ,mailsync-imap--refresh)
                                      (:poll . ,mailsync-imap--poll)))
      (unless (equal (alist-get key imap) (number-to-string value))
        (lint-options--fault "%s of (imap ...) is %s by default" key value)))
    (let ((docstrings (mapconcat (lambda (syncer) (documentation syncer t))
                                 '(mailsync-command mailsync-mbsync mailsync-offlineimap
                                                    mailsync-worker)
                                 "\n")))
      (dolist (key (mapcar #'car mailsync-syncers--keys))
        (unless (or (string-search (format "`%s'" key) docstrings)
                    ;; What these functions return, and nobody writes but who writes another.
                    (memq key '(:command :program :target :per-run :worker)))
          (lint-options--fault "no syncer's documentation says anything of %s" key))))))

(defun lint-options--exists-p (name)
  "Non-nil if NAME, a string, is a function, variable, face or file of mailsync's."
  (let ((symbol (intern-soft name)))
    (or (member name lint-options--not-lisp)
        (and symbol (or (fboundp symbol) (boundp symbol) (facep symbol) (get symbol 'custom-group)
                        (featurep symbol))))))

(defun lint-options--check-names ()
  "Is there all that the current buffer names?"
  (goto-char (point-min))
  (let ((case-fold-search nil))
    (while (re-search-forward
            "\\(?:\\`\\|[^a-zA-Z0-9/_.-]\\)\\(mailsync[-/][a-zA-Z0-9/-]+\\)\\(\\*?\\)" nil t)
      (let ((name (match-string 1)))
        (cond ((string-prefix-p "mailsync/" name)
               (unless (or (fboundp (intern name)) (member name '("mailsync/listen" "mailsync/lisp")))
                 (lint-options--fault "line %d: there is no %s" (line-number-at-pos) name)))
              ((equal (match-string 2) "*"))
              ((not (lint-options--exists-p name))
               (lint-options--fault "line %d: there is no %s" (line-number-at-pos) name))))))
  (goto-char (point-min))
  (let ((sources (with-temp-buffer
                   (dolist (file (lint-options--sources))
                     (insert-file-contents file))
                   (buffer-string)))
        (case-fold-search nil))
    (while (re-search-forward "[ =(]\\(:[a-z][a-z-]+\\)\\(?:[^a-z:-]\\|$\\)" nil t)
      (unless (or (member (match-string 1) lint-options--not-ours)
                  (string-match-p (concat (regexp-quote (match-string 1)) "[^a-z-]") sources))
        (lint-options--fault "line %d: there is no key %s" (line-number-at-pos) (match-string 1))))))

(defun lint-options--check-commands ()
  "Does the current buffer name each command?"
  (dolist (command (lint-options--commands))
    (goto-char (point-min))
    (unless (re-search-forward (format "[^a-z0-9-]%s[^a-z0-9-]" (regexp-quote (symbol-name command)))
                               nil t)
      (lint-options--fault "%s, a command, is not documented" command))))

(defun lint-options ()
  "Check the manual that the command line names."
  (lint-options--load)
  (with-temp-buffer
    (insert-file-contents (pop command-line-args-left))
    (let ((tables (lint-options--tables)))
      (lint-options--check-options (lint-options--documented tables))
      (lint-options--check-keys tables)
      (lint-options--check-order 'mailsync)
      (lint-options--check-restart)
      (lint-options--check-names)
      (lint-options--check-commands)))
  (dolist (fault (reverse lint-options--faults))
    (message "%s" fault))
  (kill-emacs (if lint-options--faults 1 0)))

(provide 'options)
;;; options.el ends here
