;;; sync.el --- The Emacs of the end-to-end test of syncs  -*- lexical-binding: t -*-

;;; Commentary:

;; Loaded by test/sync.py in an `emacs -Q', in batch or in a terminal.  It starts mailsync with one account
;; and writes down what its hooks tell.  Gnus comes later, when there is mail to read.

;;; Code:

(load (expand-file-name "../e2e/lib" (file-name-directory load-file-name)) nil t)
(declare-function e2e-say "../e2e/lib")
(declare-function fixture-configure "gnus-init")
(declare-function fixture-start "gnus-init")
(declare-function gnus-group-jump-to-group "gnus-group")
(declare-function gnus-group-kill-group "gnus-group")
(declare-function gnus-group-read-group "gnus-group")
(declare-function gnus-summary-exit "gnus-sum")
(declare-function gnus-summary-move-article "gnus-sum")
(declare-function gnus-summary-position-point "gnus-sum")
(declare-function gnus-summary-tick-article "gnus-sum")
(declare-function mailsync-check-by-gnus "mailsync-dispatch")
(defvar auth-sources)
(defvar gnus-secondary-select-methods)
(defvar mail-sources)
(defvar mailsync-check-function)
(defvar nnmail-split-methods)

(defun sync-start ()
  "Start mailsync as the script's SYNC_INIT says."
  (require 'mailsync)
  (add-hook 'mailsync-before-sync-functions
            (lambda (_ folders) (e2e-say "begins" (or folders "all"))))
  (add-hook 'mailsync-after-sync-functions
            (lambda (_ result)
              (e2e-say "ends" (plist-get result :status) (plist-get result :exit-code)
                       (or (plist-get result :folders) "all") (plist-get result :text))))
  (add-hook 'mailsync-changed-functions
            (lambda (_ changes)
              (dolist (change changes)
                (e2e-say "changed" (plist-get change :folder) (plist-get change :kinds)
                         (plist-get change :origins)))))
  (add-hook 'mailsync-new-mail-functions
            (lambda (_ changes)
              (dolist (change changes)
                (pcase-dolist (`(,group ,old ,new) (plist-get change :groups))
                  (e2e-say "new-mail" group old new)))))
  (add-hook 'mailsync-state-change-functions (lambda (_ state) (e2e-say "state" state)))
  (load (getenv "SYNC_INIT") nil t)
  (mailsync-mode 1))

(defvar sync-takes-mail nil
  "Non-nil if Gnus's server is to take in the mail of `mail-sources'.")

(defvar sync-hold nil
  "Non-nil if checks are to wait for `sync-let-go'.")

(defvar sync-held nil
  "Checks that wait, each a list of arguments.")

(defun sync-check (&rest args)
  "Check by Gnus as ARGS say, at once or some time."
  (if (not sync-hold)
      (apply #'mailsync-check-by-gnus args)
    (setq sync-held (append sync-held (list args)))
    (e2e-say "held")))

(defun sync-let-go ()
  "Make the checks that were held."
  (setq sync-hold nil)
  (while sync-held
    (apply #'mailsync-check-by-gnus (pop sync-held))))

(defun sync-split (maildir)
  "Have Gnus split what is in MAILDIR from now on."
  (gnus-group-jump-to-group "nnmaildir+fix:INBOX")
  (gnus-group-kill-group)
  (add-hook 'nnmail-prepare-incoming-hook (lambda () (e2e-say "split")))
  (setq mail-sources `((maildir :path ,maildir))
        nnmail-split-methods '(("lists" "^Subject:.*for the list")
                               ("a.b" ""))
        mailsync-check-function #'sync-check))

(defvar sync-server "nnmaildir+fix:"
  "What the names of Gnus's groups begin with.")

(defun sync-gnus-by-imap (port &rest groups)
  "Start a Gnus that reads GROUPS of the IMAP server at PORT."
  (load (expand-file-name "gnus-init" (getenv "FIXTURES")) nil t)
  (setq sync-server "nnimap+fix:")
  (fixture-configure (concat e2e-work "gnus") "fix" nil port)
  (apply #'fixture-start (mapcar (lambda (group) (concat sync-server group)) groups))
  (e2e-say "gnus"))

;; The Emacs of somebody whose mail is on the server.
(defun sync-gnus-splits (port pattern to &rest groups)
  "Start a Gnus that reads GROUPS of the IMAP server at PORT, and splits.
What has PATTERN in its subject goes to the group TO."
  (load (expand-file-name "gnus-init" (getenv "FIXTURES")) nil t)
  (fixture-configure (concat e2e-work "gnus") "fix" nil port)
  (write-region (format "machine 127.0.0.1 port %s login alice password secret\n" port)
                nil (concat e2e-work "gnus/authinfo") nil 'silent)
  (setq gnus-secondary-select-methods
        (mapcar (lambda (server)
                  ;; Gnus would ask about the certificate.
                  (append (assq-delete-all 'nnimap-stream server)
                          `((nnimap-stream plain)
                            (nnimap-inbox "INBOX")
                            (nnimap-split-methods ((,to ,(concat "^Subject:.*" pattern))
                                                   ("INBOX" ""))))))
                gnus-secondary-select-methods))
  (apply #'fixture-start (mapcar (lambda (group) (concat "nnimap+fix:" group)) groups))
  (e2e-say "gnus"))

(defun sync-authinfo (port password)
  "Have auth-source know PASSWORD for the IMAP server at PORT, and that alone."
  (sync-authinfo-of "127.0.0.1" port password))

(defun sync-authinfo-of (host port password)
  "Have auth-source know PASSWORD for the IMAP server of HOST at PORT, and that alone."
  (let ((file (concat e2e-work "authinfo")))
    (write-region (format "machine %s port %s login alice password \"%s\"\n" host port password)
                  nil file nil 'silent)
    (setq auth-sources (list file))))

(defun sync-authinfo-more (port password)
  "Have auth-source know PASSWORD for another port of the same server, PORT."
  (write-region (format "machine 127.0.0.1 port %s login alice password \"%s\"\n" port password)
                nil (car auth-sources) t 'silent))

(defun sync-gnus-by-far-imap (port password &rest groups)
  "Start a Gnus that reads GROUPS of the IMAP server at PORT, with PASSWORD."
  (load (expand-file-name "gnus-init" (getenv "FIXTURES")) nil t)
  (setq sync-server "nnimap+fix:")
  ;; Emacs notes there which certificate it was told to trust.
  (make-directory user-emacs-directory t)
  (fixture-configure (concat e2e-work "gnus") "fix" nil port)
  (sync-authinfo port password)
  (apply #'fixture-start (mapcar (lambda (group) (concat sync-server group)) groups))
  (e2e-say "gnus")
  (unless noninteractive
    (switch-to-buffer "*Group*")))

(defun sync-gnus (directory &rest groups)
  "Start a Gnus that reads the maildirs that DIRECTORY links to, as GROUPS."
  (load (expand-file-name "gnus-init" (getenv "FIXTURES")) nil t)
  (fixture-configure (concat e2e-work "gnus") "fix" directory)
  (when sync-takes-mail
    (setq gnus-secondary-select-methods
          (copy-tree gnus-secondary-select-methods))
    (setcdr (assq 'get-new-mail (cddr (car gnus-secondary-select-methods))) '(t)))
  (apply #'fixture-start (mapcar (lambda (group) (concat "nnmaildir+fix:" group)) groups))
  (e2e-say "gnus")
  (unless noninteractive
    (switch-to-buffer "*Group*")))

(defun sync-at (subject)
  "Go to the message with SUBJECT in the summary that is shown."
  ;; Not in here, since what loads a file goes back to where it was.
  (run-at-time 0 nil (lambda ()
                       (with-current-buffer (window-buffer)
                         (goto-char (point-min))
                         (search-forward subject)
                         (gnus-summary-position-point)
                         (setq sync-subject subject)
                         (add-hook 'pre-command-hook #'sync-acts)
                         (e2e-say "at" subject)))))

(defvar sync-subject nil
  "Where `sync-at' has gone.")

(defun sync-acts ()
  "Say that Emacs has got the key for the message of `sync-at'."
  (remove-hook 'pre-command-hook #'sync-acts)
  (e2e-say "acts" sync-subject))

(defun sync-to-group (group)
  "Go to the line of GROUP in *Group*, which is shown."
  ;; Not in here, as in `sync-at'.
  (run-at-time 0 nil (lambda ()
                       (with-current-buffer (window-buffer)
                         (gnus-group-jump-to-group group)))))

(defun sync-tick (group)
  "Tick the first message of GROUP, as a user does."
  (gnus-group-read-group t t (concat "nnmaildir+fix:" group))
  (goto-char (point-min))
  (gnus-summary-tick-article)
  (gnus-summary-exit))

(defun sync-move (from to)
  "Move the last message of the group FROM to the group TO, as a user does."
  (gnus-group-read-group t t (concat "nnmaildir+fix:" from))
  (goto-char (point-max))
  (forward-line -1)
  (gnus-summary-move-article 1 (concat "nnmaildir+fix:" to))
  (gnus-summary-exit))

(defun sync-act (group which action to)
  "In GROUP, do ACTION with the message WHICH, as a user does.
WHICH is a subject, or a number, by which one is taken.  TO is the
group to which ACTION `move' or `copy' brings it."
  (ignore-errors (gnus-group-read-group t t (concat sync-server group)))
  (if (not (and (derived-mode-p 'gnus-summary-mode) gnus-newsgroup-data))
      (progn
        ;; What there was is gone.
        (when (derived-mode-p 'gnus-summary-mode)
          (gnus-summary-exit))
        (e2e-say "acted" "nothing" ""))
    (let ((to (concat sync-server to)) subject)
      (if (stringp which)
          (gnus-summary-goto-subject
           (gnus-data-number
            (seq-find (lambda (data)
                        (equal (mail-header-subject (gnus-data-header data)) which))
                      gnus-newsgroup-data)))
        (gnus-summary-goto-subject
         (gnus-data-number (nth (mod which (length gnus-newsgroup-data)) gnus-newsgroup-data))))
      (setq subject (mail-header-subject (gnus-summary-article-header)))
      (condition-case err
          (pcase action
            ('read (gnus-summary-select-article t t))
            ('tick (gnus-summary-tick-article))
            ('move (gnus-summary-move-article 1 to))
            ('copy (gnus-summary-copy-article 1 to))
            ('delete (gnus-summary-delete-article))
            ('expire (gnus-summary-mark-as-expirable 1)
                     (cl-letf (((symbol-function 'gnus-yes-or-no-p) #'always))
                       (gnus-summary-expire-articles-now))))
        ;; A syncer has renamed it since the summary was made: then nothing is done.
        (error (unless (string-search "find article" (error-message-string err))
                 (signal (car err) (cdr err)))
               (setq action 'nothing)))
      (gnus-summary-exit)
      (e2e-say "acted" action subject))))

(defvar e2e-work)
(e2e-begin #'sync-start)

(provide 'sync)
;;; sync.el ends here
