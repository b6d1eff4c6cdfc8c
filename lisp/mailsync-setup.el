;;; mailsync-setup.el --- Discovered accounts, shown and kept  -*- lexical-binding: t -*-

;; Copyright (C) 2026 The mailsync authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; `mailsync-setup' shows what mailsync-discover.el finds as the form that sets
;; `mailsync-accounts', with comments that say where each part came from.  The
;; user may change it, and keep it: then it is written into the init file that
;; he names, and is in force.  Nothing is written before, and what is there is
;; not replaced unasked.

;;; Code:

(require 'cl-lib)
(require 'seq)
(require 'subr-x)
(require 'mailsync-accounts)
(require 'mailsync-discover)
(require 'mailsync-dispatch)
(require 'mailsync-life)
(require 'mailsync-sync)

;;;; Internal variables

(defconst mailsync-setup--buffer "*mailsync-setup*"
  "Name of the buffer that shows the form.")

;;;; Declarations

(defvar gnus-init-file)

;;;; Showing

(defvar mailsync-setup-mode-map
  (let ((map (make-sparse-keymap)))
    (define-key map (kbd "C-c C-c") #'mailsync-setup-keep)
    (define-key map (kbd "C-c C-k") #'mailsync-setup-quit)
    map)
  "Keymap of `mailsync-setup-mode'.")

(define-derived-mode mailsync-setup-mode emacs-lisp-mode "Mailsync-Setup"
  "Major mode of the buffer with the accounts that were discovered.
\\{mailsync-setup-mode-map}"
  (setq-local header-line-format
              (substitute-command-keys
               "\\<mailsync-setup-mode-map>\\[mailsync-setup-keep] keeps this in your \
init file, \\[mailsync-setup-quit] forgets it; change it as you like")))

;;;###autoload
(defun mailsync-setup ()
  "Show what accounts there could be, and why, as a form for you to keep.
The configurations of mbsync, OfflineIMAP and Gnus say that, and what
directories are there.  No server is asked.  Nothing is written before you
say so in the buffer that is shown."
  (interactive)
  (when-let* ((buffer (get-buffer mailsync-setup--buffer)))
    (unless (or (not (buffer-modified-p buffer))
                (yes-or-no-p "Forget what you have changed in the form? "))
      (user-error "Nothing was changed")))
  (let ((alone (not mailsync--running)))
    (when alone
      (mailsync--start-alone))
    ;; An engine that runs for this alone ends when it is done.
    (when (or alone mailsync-sync--alone)
      (cl-pushnew 'setup mailsync-sync--alone))
    (mailsync-discover "setup"
                       (lambda (found)
                         (mailsync-sync--alone-done 'setup)
                         (mailsync-setup--show found)))))

(defun mailsync-setup--show (found)
  "Show FOUND, as `mailsync-discover' gives it."
  (if (null found)
      (mailsync--say "the configurations could not be looked at; M-x mailsync-log \
says why")
    (with-current-buffer (get-buffer-create mailsync-setup--buffer)
      (mailsync-setup-mode)
      (erase-buffer)
      (mailsync-setup--insert (car found) (cdr found))
      (goto-char (point-min))
      (set-buffer-modified-p nil)
      ;; Somebody may be answering a question by now.
      (if (zerop (minibuffer-depth))
          (pop-to-buffer (current-buffer))
        (display-buffer (current-buffer))))))

(defun mailsync-setup--insert (proposals remarks)
  "Insert the form that PROPOSALS make, with REMARKS."
  (mailsync-setup--comment
   (concat (if proposals "What was found on this machine."
             "Nothing was found on this machine; write what you have, for example
  (\"home\" :maildir \"~/Maildir\" :syncer (mailsync-offlineimap \"Home\"))")
           (if mailsync-accounts
               (format-message "\n`mailsync-accounts' is set already; to keep this is \
to replace that.")
             "")))
  (insert "\n(setq mailsync-accounts\n      '(")
  (when proposals
    (dolist (proposal proposals)
      (insert "\n")
      (mailsync-setup--insert-proposal proposal))
    (insert "\n        "))
  (insert "))\n")
  (when remarks
    (insert "\n")
    (mailsync-setup--comment "Besides:")
    (dolist (remark remarks)
      (mailsync-setup--comment (concat "- " remark)))))

(defun mailsync-setup--insert-proposal (proposal)
  "Insert PROPOSAL as an account, which is a comment if it cannot be used."
  (let* ((usable (plist-get proposal :usable))
         (account (mailsync-discover-account proposal))
         (remote (plist-get proposal :remote))
         (before (if usable "        " "        ;; "))
         (beside (if usable "         " "        ;;  "))
         (aside "         ;; "))
    (dolist (reason (plist-get proposal :reasons))
      (mailsync-setup--comment reason "        "))
    (unless usable
      (mailsync-setup--comment "Not to be used before that is mended:" "        "))
    (insert before "(" (mailsync-setup--print (pop account)))
    (while account
      (insert "\n" beside (symbol-name (pop account)) " "
              (mailsync-setup--print (pop account))))
    (dolist (choice (plist-get proposal :choices))
      (insert "\n" aside
              (if (plist-get proposal :syncer) "or " "choose ")
              ":syncer " (mailsync-setup--print choice)))
    (when (plist-get remote :host)
      (insert "\n" aside "to be told by the server what changes (only then is it contacted):"
              "\n" aside ":remote "
              (mailsync-setup--print (cons 'imap remote))))
    (insert (if (or (plist-get proposal :choices) (plist-get remote :host))
                (concat "\n" beside ")")
              ")"))))

(defun mailsync-setup--comment (text &optional indentation)
  "Insert TEXT as comment lines, each after INDENTATION."
  (dolist (line (split-string text "\n"))
    (insert (or indentation "") ";; "
            ;; What a file of others says must not end the comment.
            (replace-regexp-in-string (concat "\t\\|" mailsync-log-unseen) " " line)
            "\n")))

(defun mailsync-setup--print (value)
  "VALUE as text that Lisp reads, in one line.
Bytes that are no text are escaped, so that any file can hold them."
  (let ((print-escape-newlines t)
        (print-escape-control-characters t)
        (print-length nil)
        (print-level nil))
    (replace-regexp-in-string
     ;; What a line of this says must be what is read.
     mailsync-log-unseen
     (lambda (char) (format "\\u%04x" (aref char 0)))
     (replace-regexp-in-string
      (format "[%c-%c]" (unibyte-char-to-multibyte #x80) (unibyte-char-to-multibyte #xff))
      (lambda (byte) (format "\\%o" (multibyte-char-to-unibyte (aref byte 0))))
      (string-to-multibyte (prin1-to-string value)) t t)
     t t)))

;;;; Keeping

(defun mailsync-setup-quit ()
  "Forget what was found; nothing was written."
  (interactive)
  (quit-window t))

(defun mailsync-setup--form ()
  "The form in the current buffer: (TEXT . ACCOUNTS).
Signal a `user-error' where it is none that could be kept."
  (save-excursion
    (goto-char (point-min))
    (let* ((form (condition-case err
                     (read (current-buffer))
                   (error (user-error "This is no whole form: %s"
                                      (error-message-string err)))))
           (end (point))
           (accounts (pcase form
                       (`(setq mailsync-accounts ',accounts) accounts)
                       (_ (user-error
                           "The first form has to be (setq mailsync-accounts \\='...)")))))
      (unless accounts
        (user-error "There is no account in it"))
      (unless (proper-list-p accounts)
        (user-error "It does not set a list"))
      (dolist (account accounts)
        (when-let* ((fault (mailsync-accounts--fault account)))
          (user-error "The account %S: %s" (car-safe account) fault)))
      (goto-char end)
      (mailsync-setup--refuse-more)
      (goto-char end)
      (backward-sexp)
      (cons (buffer-substring-no-properties (point) end) accounts))))

(defun mailsync-setup--refuse-more ()
  "Signal a `user-error' if more than comments is behind point.
It would be lost with the buffer."
  (with-syntax-table emacs-lisp-mode-syntax-table
    (forward-comment (point-max)))
  (unless (eobp)
    (user-error "This would be lost, since it is no part of the form: %s; write it into \
the init file yourself, or delete it here"
                (mailsync-log-shorten
                 (mailsync-log-clean
                  (string-join (split-string (buffer-substring (point) (point-max)))
                               " ")
                  t)
                 80))))

(defun mailsync-setup--file ()
  "The init file in which the form is probably wanted."
  (let* ((gnus (if (stringp (bound-and-true-p gnus-init-file))
                   (expand-file-name gnus-init-file)
                 (expand-file-name "~/.gnus")))
         (gnus (if (or (string-suffix-p ".el" gnus) (file-exists-p gnus))
                   gnus
                 (concat gnus ".el")))
         (files (seq-filter #'file-readable-p
                            (cons gnus (and (stringp user-init-file)
                                            (list user-init-file))))))
    (or (seq-find (lambda (file)
                    (with-temp-buffer
                      (insert-file-contents file)
                      (re-search-forward "(mailsync-\\(mode\\|start\\)\\_>" nil t)))
                  files)
        gnus)))

(defun mailsync-setup-keep (file)
  "Write the form into FILE, an init file, and have it in force.
It goes before what turns on `mailsync-mode' there, otherwise to the end.  If
FILE sets `mailsync-accounts' already you are asked."
  (interactive
   (progn
     ;; A mistake is better said before a question.
     (mailsync-setup--form)
     (let ((file (mailsync-setup--file)))
       (list (read-file-name "Keep it in the init file: "
                             (file-name-directory file) file nil
                             (file-name-nondirectory file))))))
  (pcase-let ((`(,text . ,accounts) (mailsync-setup--form)))
    (when (get 'mailsync-accounts 'saved-value)
      (user-error "Customize has saved `mailsync-accounts'; M-x customize-option \
can erase that, or set this there"))
    (when (file-directory-p file)
      (user-error "%s is a directory" file))
    (let* ((buffer (find-file-noselect file))
           (saved (not (buffer-modified-p buffer))))
      (with-current-buffer buffer
        (save-excursion
          (save-restriction
            (widen)
            (mailsync-setup--put text)))
        (when saved
          (save-buffer)))
      (mailsync-options--set 'mailsync-accounts accounts)
      (quit-window t)
      (pop-to-buffer buffer)
      (mailsync--say (if saved "the accounts are in %s"
                       "the accounts are in the buffer of %s, which has other changes: \
save it")
                     (abbreviate-file-name file)))))

(defun mailsync-setup--put (text)
  "Put TEXT, the form, where it belongs in the current buffer."
  (let ((there (mailsync-setup--set-there)))
    (cond
     ((null there)
      (goto-char (point-min))
      (if (re-search-forward "^(mailsync-\\(mode\\|start\\)\\_>" nil t)
          (progn
            (beginning-of-line)
            (insert text "\n"))
        (goto-char (point-max))
        (unless (or (bobp) (bolp))
          (insert "\n"))
        (insert text "\n")))
     ((not (consp there))
      (kill-new text)
      (user-error "Line %d of it sets `mailsync-accounts' already; change that as you \
like, the new form is in the kill ring"
                  (line-number-at-pos there)))
     ((yes-or-no-p (format "Line %d of it sets mailsync-accounts already; replace that? "
                           (line-number-at-pos (car there))))
      (delete-region (car there) (cdr there))
      (goto-char (car there))
      (insert text))
     (t
      (user-error "Nothing was changed")))))

(defun mailsync-setup--set-there ()
  "Where the current buffer has `mailsync-accounts' in its code, or nil.
If that is a form of its own that sets nothing else, (BEGIN . END), else a
position."
  (let ((table (if (derived-mode-p 'emacs-lisp-mode) (syntax-table)
                 emacs-lisp-mode-syntax-table))
        found)
    (with-syntax-table table
      (goto-char (point-min))
      (while (and (not found)
                  (re-search-forward "\\_<mailsync-accounts\\_>" nil t))
        (let ((at (match-beginning 0))
              (state (save-excursion (parse-partial-sexp (point-min) (point)))))
          (unless (or (nth 3 state) (nth 4 state))
            (setq found
                  (or (and (= 1 (car state))
                           (ignore-errors
                             (goto-char (nth 1 state))
                             (pcase (read (current-buffer))
                               (`(setq mailsync-accounts ,_)
                                (cons (nth 1 state) (point))))))
                      at))))))
    found))

(provide 'mailsync-setup)
;;; mailsync-setup.el ends here
