;;; mailsync-discover.el --- Accounts that nobody has configured  -*- lexical-binding: t -*-

;; Copyright (C) 2026 The mailsync authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; What accounts there could be, says an errand of the module: it reads the
;; configurations of mbsync and OfflineIMAP and looks at the directories that
;; they name, in the background.  Here that is asked for, with the directories
;; that Gnus shows, and what comes back is made into accounts.  No server is
;; asked, and no password is read.
;;
;; Where `mailsync-accounts' is nil, what is safe of that is used: directories
;; that are there and hold mail, each with the one syncer that its own
;; configuration has for it.  What is ambiguous is watched and not synced.
;; mailsync-setup.el shows all of it.

;;; Code:

(require 'seq)
(require 'subr-x)
(require 'mailsync-log)
(require 'mailsync-accounts)
(require 'mailsync-dispatch)
(require 'mailsync-pipe)
(require 'mailsync-syncers)

;;;; Internal variables

(defconst mailsync-discover--patience 10
  "Seconds to wait for an answer before the default is used.")

(defvar mailsync-discover--timer nil
  "The timer that waits no longer for an answer, or nil.")

(defvar mailsync-discover--asked nil
  "The directories of Gnus that were asked about last.")

;;;; Declarations

(defvar gnus-opened-servers)
(defvar gnus-secondary-select-methods)
(defvar gnus-select-method)
(declare-function mailsync--discovered "mailsync-life")
(declare-function mailsync-gnus--local-server-p "mailsync-gnus-folders" (method))
(declare-function mailsync-module--discover "ext:mailsync-engine")

;;;; Asking

(defun mailsync-discover (slot callback)
  "Find out what accounts there could be; call CALLBACK with that, later.
It gets a list (ACCOUNTS . REMARKS), or nil if that could not be found out.  An
account is a plist: `:name'; `:usable', non-nil if it can be used as it is;
`:maildirs'; `:syncer', a value for that key of an account, or nil; `:choices',
such values of which the user has to choose one; `:remote', the keys of
\(imap ...) as far as they are known; and `:reasons', strings.  REMARKS are
strings.  SLOT is as for `mailsync--errand'."
  (setq mailsync-discover--asked (mailsync-discover--gnus-directories))
  (mailsync--errand slot #'mailsync-module--discover
                    (lambda (fields)
                      (funcall callback (mailsync-discover--read fields)))
                    (mailsync-syncers--environment nil)
                    (vconcat (mapcar (pcase-lambda (`(,server . ,directory))
                                       (vector (mailsync-pipe-encode-text server)
                                               (mailsync-syncers--file directory)))
                                     mailsync-discover--asked))
                    (not (bound-and-true-p mailsync-gnus-watch-nnimap))))

(defun mailsync-discover--read (fields)
  "What FIELDS, the answer of the module, say; nil if they are not whole."
  (let (accounts remarks whole)
    (pcase-dolist (`(,word ,one ,two) (seq-partition fields 3))
      (let ((text (mailsync-pipe-decode-text one))
            (more (mailsync-pipe-decode-text two))
            (add (lambda (key value)
                   (setcar accounts
                           (plist-put (car accounts) key
                                      (append (plist-get (car accounts) key)
                                              (list value)))))))
        (pcase word
          ("account" (push (list :name text :usable (equal more "t")) accounts))
          ("maildir" (funcall add :maildirs
                              (mailsync-discover--short (mailsync-pipe-decode one))))
          ("syncer" (setcar accounts
                            (plist-put (car accounts) :syncer
                                       (mailsync-discover--syncer text more))))
          ("choice" (funcall add :choices (mailsync-discover--syncer text more)))
          ("remote" (pcase text
                      ("host" (funcall add :remote :host) (funcall add :remote more))
                      ("port" (funcall add :remote :port)
                       (funcall add :remote (string-to-number more)))
                      ("user" (funcall add :remote :user) (funcall add :remote more))
                      ("tls" (funcall add :remote :tls)
                       (funcall add :remote (if (equal more "none") 'none 'starttls)))))
          ("reason" (funcall add :reasons text))
          ("remark" (push text remarks))
          ("end" (setq whole t)))))
    (and whole
         (cons (nreverse accounts)
               (append (nreverse remarks) (mailsync-discover--gnus-remarks))))))

(defun mailsync-discover--syncer (program target)
  "The value of `:syncer' for PROGRAM and TARGET, which is empty for all."
  (let ((function (if (equal program "mbsync") 'mailsync-mbsync
                    'mailsync-offlineimap)))
    (if (equal target "") function (list function target))))

(defun mailsync-discover--short (directory)
  "DIRECTORY as users write it."
  (let ((home (file-name-as-directory (expand-file-name "~"))))
    (if (and (string-prefix-p home directory) (not (equal home "/")))
        (concat "~/" (substring directory (length home)))
      directory)))

(defun mailsync-discover-account (proposal)
  "The account that PROPOSAL is, as it is written in `mailsync-accounts'."
  (let ((maildirs (plist-get proposal :maildirs))
        (syncer (plist-get proposal :syncer)))
    (append (list (plist-get proposal :name)
                  :maildir (if (cdr maildirs) maildirs (car maildirs)))
            (and syncer (list :syncer syncer)))))

;;;; What Gnus knows

(defun mailsync-discover--methods ()
  "The select methods of Gnus, if that is loaded."
  (and (featurep 'gnus)
       (let ((listed (and (proper-list-p (bound-and-true-p gnus-secondary-select-methods))
                          gnus-secondary-select-methods)))
         (seq-uniq (seq-filter
                    (lambda (method)
                      (and (proper-list-p method) (symbolp (car method))
                           (stringp (nth 1 method))))
                    (append (list (bound-and-true-p gnus-select-method)) listed
                            (mapcar #'car (seq-filter
                                           (lambda (entry) (eq (nth 1 entry) 'ok))
                                           (bound-and-true-p gnus-opened-servers)))))
                   (lambda (one other)
                     (and (eq (car one) (car other))
                          (equal (nth 1 one) (nth 1 other))))))))

(defun mailsync-discover--gnus-directories ()
  "What nnmaildir shows: an alist from servers to directories."
  (let (directories)
    (dolist (method (mailsync-discover--methods))
      (let ((directory (cadr (assq 'directory (seq-filter #'consp (cddr method))))))
        (when (and (eq (car method) 'nnmaildir)
                   (mailsync-syncers--file-p directory)
                   (not (equal directory "")))
          (push (cons (nth 1 method) directory) directories))))
    (nreverse directories)))

(defun mailsync-discover--gnus-remarks ()
  "What the nnimap servers of Gnus have to do with it, in sentences."
  (when-let* ((methods (seq-filter (lambda (method) (eq (car method) 'nnimap))
                                   (mailsync-discover--methods))))
    (require 'mailsync-gnus-folders)
    (let* ((local (seq-filter #'mailsync-gnus--local-server-p methods))
           (far (seq-difference methods local))
           (names (lambda (methods)
                    (mapconcat (lambda (method) (concat "nnimap:" (nth 1 method)))
                               methods ", "))))
      (append
       (and local
            (list (if (cdr local)
                      (format "from Gnus: %s are on this machine; which of them \
shows the maildirs of an account, only you can say, with :gnus-server"
                              (funcall names local))
                    (format "from Gnus: %s is on this machine and shows its maildirs"
                            (funcall names local)))))
       (and far
            (not (bound-and-true-p mailsync-gnus-watch-nnimap))
            (list (format-message "from Gnus: %s on other machines; with \
`mailsync-gnus-watch-nnimap' mailsync watches what Gnus has open there, without \
any account" (funcall names far))))))))

;;;; At start

(defun mailsync-discover-begin ()
  "Find out what stands for `mailsync-accounts', which is nil."
  (mailsync-discover--wait-no-longer)
  (setq mailsync-discover--timer
        (run-at-time mailsync-discover--patience nil #'mailsync-discover--late
                     mailsync--running))
  (add-hook 'gnus-started-hook #'mailsync-discover--gnus-started)
  (mailsync-discover "discover" #'mailsync-discover--use))

(defun mailsync-discover-end ()
  "Nothing is to be found out any more."
  (mailsync-discover--wait-no-longer)
  (remove-hook 'gnus-started-hook #'mailsync-discover--gnus-started))

(defun mailsync-discover--wait-no-longer ()
  "Cancel the timer."
  (when (timerp mailsync-discover--timer)
    (cancel-timer mailsync-discover--timer))
  (setq mailsync-discover--timer nil))

(defun mailsync-discover--late (running)
  "The start RUNNING has waited long enough; an answer may come yet."
  (when (and (eq running mailsync--running)
             (eq mailsync-accounts--discovered 'looking))
    (mailsync-log-add 'warning "looking for accounts takes long: a disk does not \
answer; until then there is what there is without looking")
    (mailsync--discovered nil)))

(defun mailsync-discover--gnus-started ()
  "Look again if Gnus shows directories that nobody asked about."
  (when (and (bound-and-true-p mailsync-mode)
             (null mailsync-accounts)
             (not (equal (mailsync-discover--gnus-directories)
                         mailsync-discover--asked)))
    (mailsync-discover-begin)))

(defun mailsync-discover--use (found)
  "Use what is safe of FOUND, as `mailsync-discover' gives it."
  (mailsync-discover--wait-no-longer)
  (let* ((usable (seq-filter (lambda (proposal) (plist-get proposal :usable))
                             (car found)))
         (accounts (mapcar #'mailsync-discover-account usable)))
    (unless mailsync-accounts
      (if found
          (mailsync-discover--tell found usable)
        (mailsync-log-add 'warning "no accounts could be looked for"))
      (mailsync--discovered accounts))))

(defun mailsync-discover--tell (found usable)
  "Say what was FOUND, and which proposals of it are USABLE."
  (dolist (proposal (car found))
    (mailsync-log-add 'info "discovered: %s%s" (plist-get proposal :name)
                      (concat (if (plist-get proposal :usable) "" ", which is not used")
                              (mapconcat (lambda (reason) (concat "\n" reason))
                                         (plist-get proposal :reasons) ""))))
  (dolist (remark (cdr found))
    (mailsync-log-add 'info "discovered: %s" remark))
  (let ((texts (mapcar #'mailsync-discover--words usable))
        (rest (- (length (car found)) (length usable))))
    (cond
     (usable
      (mailsync--once (list 'discovered texts rest) nil
                      "found %s%s; M-x mailsync-setup shows why, and keeps it"
                      (string-join texts ", ")
                      (if (zerop rest) "" (format ", and %d that cannot be used yet" rest))))
     ((mailsync-accounts--default)
      (mailsync--once (list 'discovered nil rest) 'info
                      "%s; %s is watched (M-x mailsync-setup says more)"
                      (if (zerop rest) "found no configuration of a syncer, and no mail"
                        (format "found %d account%s that cannot be used yet"
                                rest (if (= rest 1) "" "s")))
                      (plist-get (cdar (mailsync-accounts--default)) :maildir))))))

(defun mailsync-discover--words (proposal)
  "PROPOSAL in a few words."
  (let ((syncer (plist-get proposal :syncer)))
    (format "%s (%s)" (plist-get proposal :name)
            (cond
             (syncer (string-remove-prefix
                      "mailsync-" (symbol-name (if (consp syncer) (car syncer) syncer))))
             ((plist-get proposal :choices) "only watched: choose a syncer")
             (t "only watched")))))

(provide 'mailsync-discover)
;;; mailsync-discover.el ends here
