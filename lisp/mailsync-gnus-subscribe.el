;;; mailsync-gnus-subscribe.el --- Give new folders to Gnus's own rules  -*- lexical-binding: t -*-

;; Copyright (C) 2026 The mailsync authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; A folder that no group of Gnus shows may be new.  If the user wants that
;; (`mailsync-gnus-subscribe-new'), Gnus's own rules decide what becomes of
;; it, as they do where Gnus finds new groups by itself:
;; `gnus-options-subscribe' and its like, and the method that they choose.
;; Only then is the group checked, as any other.
;;
;; Such a folder is a newcomer (`mailsync-gnus--newcomer') until it is known
;; which server has it under which name.  An nnmaildir server is asked by
;; having the names in its directory resolved in the background; an nnimap
;; server by asking for the status of each name that it may have, on our own
;; connection.  Nobody waits for either.  What Gnus itself would wait for, to
;; tell an nnimap server that the group is subscribed, is sent there too.

;;; Code:

(require 'cl-lib)
(require 'subr-x)
(require 'mailsync-gnus-folders)
(require 'mailsync-gnus-check)
(require 'mailsync-gnus-imap)
(require 'mailsync-gnus-items)
(require 'mailsync-gnus-topics)
(require 'mailsync-options)

;;;; Internal variables

(defconst mailsync-gnus--new-messages-max 300
  "Take into a new nnmaildir group so many messages at most by ourselves.
The first look at a message costs some milliseconds.")

(defconst mailsync-gnus--newcomers-asked-max 20
  "Ask an nnimap server about so many new folders at most in one go.")

(defconst mailsync-gnus--new-names-timeout 5
  "Wait so many seconds for names in the directory of an nnmaildir server.")

(defvar mailsync-gnus--newcomers nil
  "The folders without a group that are looked for on servers, oldest first.")

(defvar mailsync-gnus--newcomers-asked nil
  "Alist from the name of an nnimap server to the newcomers it was asked for.")

;;;; Declarations

(defvar gnus-active-hashtb)
(defvar gnus-group-buffer)
(defvar gnus-group-default-list-level)
(defvar gnus-killed-hashtb)
(defvar gnus-opened-servers)
(defvar gnus-override-subscribe-method)
(defvar gnus-plugged)
(defvar gnus-subscribe-hierarchical-interactive)
(defvar gnus-subscribe-newsgroup-method)
(defvar gnus-subscribe-options-newsgroup-method)

(declare-function gnus-activate-group "gnus-start"
                  (group &optional scan dont-check method dont-sub-check))
(declare-function gnus-agent-method-p "gnus" (method-or-server))
(declare-function gnus-call-subscribe-functions "gnus-start" (method group))
(declare-function gnus-find-method-for-group "gnus" (group &optional info))
(declare-function gnus-group-prefixed-name "gnus" (group method &optional full))
(declare-function gnus-group-update-group "gnus-group"
                  (group &optional visible-only info-unchanged))
(declare-function gnus-make-hashtable-from-killed "gnus-start" ())
(declare-function gnus-matches-options-n "gnus-start" (group))
(declare-function gnus-request-update-group-status "gnus-int" (group status))
(declare-function gnus-server-status "gnus" (method))
(declare-function nnimap-find-process-buffer "nnimap" (buffer))
(declare-function nnimap-group-to-imap "nnimap" (group))
(declare-function nnimap-open-server "nnimap"
                  (server &optional defs no-reconnect))
(declare-function nnimap-send-command "nnimap" (&rest args))

(declare-function mailsync-log-add "mailsync-log" (level format &rest args))
(declare-function mailsync--once "mailsync-log" (key level format &rest args))
(declare-function mailsync--resolve "mailsync-dispatch" (slot names callback))
(declare-function mailsync-gnus--wake "mailsync-gnus" ())

;;;; Which folders

(cl-defstruct (mailsync-gnus--newcomer
               (:constructor mailsync-gnus--make-newcomer)
               (:copier nil))
  "A folder without a group that is looked for."
  item                 ; the folder
  (names 'unknown)     ; in nnmaildir's directories, an alist from
                       ; (METHOD . NAME) to the truename; `unknown', `asked'
  since                ; when these were asked for
  methods              ; the nnimap servers still to be asked
  groups               ; what it was subscribed to
  again                ; non-nil: a server did not answer
  reason)              ; why it was not

(defun mailsync-gnus--subscribe-p (group folder)
  "Non-nil if `mailsync-gnus-subscribe-new' wants GROUP, which shows FOLDER.
Either may be nil, where it is not known."
  (pcase mailsync-gnus-subscribe-new
    ('nil nil)
    ('t t)
    ((pred functionp)
     (condition-case err
         (funcall mailsync-gnus-subscribe-new group folder)
       (error
        (mailsync--once (list 'subscribe-new (car err)) 'error
                        "`mailsync-gnus-subscribe-new': %s"
                        (error-message-string err))
        nil)))
    ((pred proper-list-p)
     (let ((case-fold-search nil))
       (cl-some (lambda (glob)
                  (and (stringp glob)
                       (cl-some (lambda (name)
                                  (and name (mailsync-gnus--glob-p glob name)))
                                (list group folder))))
                mailsync-gnus-subscribe-new)))))

(defun mailsync-gnus--newcomer-change-p (change)
  "Non-nil if CHANGE makes its folder one to tell Gnus of.
That all of an account is looked at does not, nor do flags: what
the user has never subscribed to is not new by that."
  (let ((kinds (plist-get change :kinds)))
    (and (not (mailsync-gnus--deleted-p change))
         (or (memq 'folder-created kinds)
             (memq 'new kinds)
             ;; Nobody says more of a folder on a server.
             (null (plist-get change :directory))))))

(defun mailsync-gnus--claim-newcomer (item groups)
  "Have ITEM's folder looked for on servers if none of GROUPS shows it.
Return non-nil if that is done: ITEM waits for it then."
  (let ((change (mailsync-gnus--item-change item)))
    (when (and (null groups)
               mailsync-gnus-subscribe-new
               (null (mailsync-gnus--sources change))
               (null (mailsync-gnus--configured-groups change))
               (mailsync-gnus--newcomer-change-p change))
      (let ((methods (mailsync-gnus--newcomer-imap-methods change))
            (local (and (plist-get change :directory)
                        (mailsync-gnus--open-methods 'nnmaildir))))
        (when (or methods local)
          (setq mailsync-gnus--newcomers
                (append mailsync-gnus--newcomers
                        (list (mailsync-gnus--make-newcomer
                               :item item :methods methods
                               :names (if local 'unknown nil)))))
          t)))))

;;;; Which servers

(defun mailsync-gnus--usable-p (method)
  "Non-nil if Gnus has the server METHOD open and may talk to it."
  (and (eq (gnus-server-status method) 'ok)
       (or gnus-plugged (not (gnus-agent-method-p method)))))

(defun mailsync-gnus--open-methods (backend)
  "The servers of BACKEND that Gnus has open."
  (cl-loop for (method) in gnus-opened-servers
           when (and (eq (car method) backend)
                     (mailsync-gnus--usable-p method))
           collect method))

(defun mailsync-gnus--newcomer-imap-methods (change)
  "The nnimap servers that may have the folder of CHANGE."
  (and (fboundp 'nnimap-send-command)
       (fboundp 'nnimap-group-to-imap)
       (cl-remove-if-not #'mailsync-gnus--usable-p
                         (mapcar #'car (mailsync-gnus--imap-servers
                                        (plist-get change :account))))))

;;;; The next piece of work

(defun mailsync-gnus--newcomer-unit (later)
  "The next piece of work for newcomers, or nil.
LATER is called with the seconds after which there may be one."
  (cl-some (lambda (newcomer)
             (mailsync-gnus--newcomer-unit-1 newcomer later))
           mailsync-gnus--newcomers))

(defun mailsync-gnus--newcomer-unit-1 (newcomer later)
  "The next piece of work for NEWCOMER, or nil; LATER as for the caller."
  (pcase (mailsync-gnus--newcomer-names newcomer)
    ('unknown
     ;; One request at a time.
     (unless (cl-some (lambda (other)
                        (eq (mailsync-gnus--newcomer-names other) 'asked))
                      mailsync-gnus--newcomers)
       (list #'mailsync-gnus--ask-for-names)))
    ('asked
     (let ((seconds (- (+ (mailsync-gnus--newcomer-since newcomer)
                          mailsync-gnus--new-names-timeout)
                       (float-time))))
       (if (> seconds 0)
           (progn (funcall later seconds) nil)
         (list #'mailsync-gnus--names-do-not-come newcomer))))
    ((pred consp)
     (list #'mailsync-gnus--subscribe-by-name newcomer))
    (_
     (let ((method (car (mailsync-gnus--newcomer-methods newcomer))))
       (if (null method)
           (list #'mailsync-gnus--newcomer-done newcomer)
         (let ((wait (mailsync-gnus--imap-wait
                      (mailsync-gnus--imap-server method))))
           (cond
            ((eql wait 0) (list #'mailsync-gnus--ask-imap-for-newcomers method))
            (wait (funcall later wait) nil))))))))

(defun mailsync-gnus--newcomer-done (newcomer)
  "NEWCOMER was looked for everywhere: have its groups checked."
  (setq mailsync-gnus--newcomers (delq newcomer mailsync-gnus--newcomers))
  (let ((item (mailsync-gnus--newcomer-item newcomer))
        (groups (mailsync-gnus--newcomer-groups newcomer))
        (reason (mailsync-gnus--newcomer-reason newcomer)))
    (when (mailsync-gnus--newcomer-again newcomer)
      (setf (mailsync-gnus--item-again item) t)
      (unless groups (setf (mailsync-gnus--item-result item) 'failed)))
    (mailsync-gnus--claim item groups)
    (when (and reason (null groups))
      (mailsync-gnus--leave-alone
       (plist-get (mailsync-gnus--item-change item) :folder) reason))))

(defun mailsync-gnus--sought-p (item)
  "Non-nil if a group for the folder of ITEM is looked for."
  (cl-find item mailsync-gnus--newcomers :key #'mailsync-gnus--newcomer-item))

(defun mailsync-gnus--forget-newcomers ()
  "Forget the folders that are looked for."
  (setq mailsync-gnus--newcomers nil
        mailsync-gnus--newcomers-asked nil))

(defun mailsync-gnus--take-newcomer (newcomer group method)
  "The server METHOD shows the folder of NEWCOMER as GROUP: subscribe to it.
As far as the user's rules say so."
  (let* ((change (mailsync-gnus--item-change
                  (mailsync-gnus--newcomer-item newcomer)))
         (reason (cond
                  ((mailsync-gnus--deleted-p change) "folder deleted")
                  ((mailsync-gnus--subscribe-p group (plist-get change :folder))
                   (mailsync-gnus--subscribe group method))
                  (t "no group in Gnus"))))
    (if reason
        (setf (mailsync-gnus--newcomer-reason newcomer) reason)
      (push group (mailsync-gnus--newcomer-groups newcomer)))))

;;;; nnmaildir

(defun mailsync-gnus--server-directory (method)
  "The directory of the nnmaildir server METHOD, or nil."
  (when-let* ((directory (mailsync-gnus--nnmaildir-directory "x" method)))
    (file-name-directory directory)))

(defun mailsync-gnus--unknown-names ()
  "What nnmaildir servers show that no group does: an alist.
It is from the file's name to (METHOD . NAME)."
  (let ((known (make-hash-table :test #'equal))
        (unknown nil))
    (pcase-dolist (`(,directory . ,_) (mailsync-gnus--index-directories
                                       mailsync-gnus--index))
      (puthash directory t known))
    (dolist (method (mailsync-gnus--open-methods 'nnmaildir))
      (when-let* ((directory (mailsync-gnus--server-directory method)))
        ;; nnmaildir itself lists it whenever it looks for mail.
        (dolist (name (ignore-errors
                        (directory-files directory nil "\\`[^.]" t)))
          (unless (gethash (concat directory name) known)
            (push (cons (concat directory name) (cons method name))
                  unknown)))))
    unknown))

(defun mailsync-gnus--ask-for-names ()
  "Have what nnmaildir servers show and no group does resolved."
  (let ((names (mailsync-gnus--unknown-names))
        (newcomers (cl-remove-if-not
                    (lambda (newcomer)
                      (eq (mailsync-gnus--newcomer-names newcomer) 'unknown))
                    mailsync-gnus--newcomers)))
    (dolist (newcomer newcomers)
      (setf (mailsync-gnus--newcomer-names newcomer) (and names 'asked)
            (mailsync-gnus--newcomer-since newcomer) (float-time)))
    (when names
      (mailsync--resolve
       "gnus-new" (mapcar #'car names)
       (lambda (truenames)
         (dolist (newcomer newcomers)
           (when (eq (mailsync-gnus--newcomer-names newcomer) 'asked)
             (setf (mailsync-gnus--newcomer-names newcomer)
                   (mailsync-gnus--names-of newcomer names truenames))))
         (mailsync-gnus--wake))))))

(defun mailsync-gnus--names-of (newcomer names truenames)
  "The elements of NAMES that are NEWCOMER's folder, going by TRUENAMES."
  (let ((wanted (mailsync-gnus--change-names
                 (mailsync-gnus--item-change
                  (mailsync-gnus--newcomer-item newcomer)))))
    (cl-loop for (file . truename) in truenames
             when (member (directory-file-name truename) wanted)
             collect (cdr (assoc file names)))))

(defun mailsync-gnus--names-do-not-come (newcomer)
  "The names for NEWCOMER are not resolved in time: go on without."
  (setf (mailsync-gnus--newcomer-names newcomer) nil
        (mailsync-gnus--newcomer-reason newcomer)
        "the directory of the nnmaildir server does not answer"))

(defun mailsync-gnus--subscribe-by-name (newcomer)
  "Subscribe to the next group by which an nnmaildir server shows NEWCOMER."
  (pcase-let ((`(,method . ,name) (pop (mailsync-gnus--newcomer-names newcomer))))
    (mailsync-gnus--take-newcomer
     newcomer (gnus-group-prefixed-name name method) method)))

(defun mailsync-gnus--too-large-p (group method)
  "Non-nil if the first look at GROUP of the nnmaildir server METHOD takes long."
  (when-let* ((directory (mailsync-gnus--nnmaildir-directory group method)))
    (nthcdr mailsync-gnus--new-messages-max
            (ignore-errors
              (directory-files (expand-file-name "cur" directory)
                               nil "\\`[^.]" t
                               (1+ mailsync-gnus--new-messages-max))))))

;;;; nnimap

(defun mailsync-gnus--newcomer-candidates (newcomer method)
  "Names that the server METHOD may have for the folder of NEWCOMER."
  (let ((names (mailsync-gnus--imap-candidates
                (plist-get (mailsync-gnus--item-change
                            (mailsync-gnus--newcomer-item newcomer))
                           :folder))))
    (if (cadr (assq 'nnimap-use-namespaces (cddr method)))
        names
      ;; Only there Gnus marks a name so.
      (cl-remove-if (lambda (name) (string-prefix-p "#" name)) names))))

(defun mailsync-gnus--ask-imap-for-newcomers (method)
  "Ask the nnimap server METHOD which newcomers it has.
The answer is seen to by `mailsync-gnus--finish-newcomers'."
  (let* ((server (mailsync-gnus--imap-server method))
         (name (mailsync-gnus--imap-name server))
         (newcomers (cl-loop for newcomer in mailsync-gnus--newcomers
                             when (and (null (mailsync-gnus--newcomer-names
                                              newcomer))
                                       (equal method
                                              (car (mailsync-gnus--newcomer-methods
                                                    newcomer))))
                             collect newcomer))
         (newcomers (seq-take newcomers mailsync-gnus--newcomers-asked-max))
         (names (delete-dups
                 (cl-mapcan (lambda (newcomer)
                              (mailsync-gnus--newcomer-candidates
                               newcomer method))
                            newcomers)))
         (failure
          (condition-case err
              (mailsync-gnus--quietly
                (mailsync-gnus--imap-ask-names server method names)
                'asked)
            (error (error-message-string err)))))
    (push (cons name newcomers) mailsync-gnus--newcomers-asked)
    (unless (eq failure 'asked)
      (mailsync-gnus--imap-failed server)
      (mailsync-gnus--finish-newcomers server))))

(defun mailsync-gnus--imap-ask-names (server method names)
  "Ask SERVER, whose method is METHOD, for the status of each of NAMES."
  (mailsync-gnus--imap-try
   method (lambda () (nnimap-open-server (nth 1 method) (cddr method))))
  (let ((token nil))
    (with-current-buffer (nnimap-find-process-buffer
                          (get-buffer mailsync-gnus--imap-buffer-name))
      (erase-buffer)
      (dolist (name names)
        ;; In the form of nnimap's own tokens, the last one first.
        (push (list (nnimap-send-command "STATUS %S (UIDNEXT)"
                                         (nnimap-group-to-imap name))
                    nil nil name)
              token)))
    (setf (mailsync-gnus--imap-method server) method
          (mailsync-gnus--imap-infos server)
          (mapcar (lambda (name) (list (gnus-group-prefixed-name name method)))
                  names)
          (mailsync-gnus--imap-old server) nil
          (mailsync-gnus--imap-token server) token
          (mailsync-gnus--imap-wake server) #'mailsync-gnus--wake
          (mailsync-gnus--imap-state server) 'asked)
    (mailsync-gnus--imap-watch server)))

(defun mailsync-gnus--finish-newcomers (server)
  "Take the answer of SERVER to which newcomers it has; t if it was asked that."
  (when-let* ((asked (assoc (mailsync-gnus--imap-name server)
                            mailsync-gnus--newcomers-asked)))
    (mailsync-gnus--finish-newcomers-1 server asked)
    t))

(defun mailsync-gnus--finish-newcomers-1 (server asked)
  "Take the answer of SERVER to ASKED, of `mailsync-gnus--newcomers-asked'."
  (let* ((method (mailsync-gnus--imap-method server))
         (answered (eq (mailsync-gnus--imap-state server) 'answered))
         (refused (and answered (mailsync-gnus--imap-refusals server))))
    (setq mailsync-gnus--newcomers-asked
          (delq asked mailsync-gnus--newcomers-asked))
    (cond
     (answered (setf (mailsync-gnus--imap-failures server) 0)
               (mailsync-gnus--imap-forget server))
     ((not (eq (mailsync-gnus--imap-state server) 'idle))
      (mailsync-gnus--imap-failed server)))
    (dolist (newcomer (cdr asked))
      (let ((method (or (pop (mailsync-gnus--newcomer-methods newcomer))
                        method)))
        (if (not answered)
            (setf (mailsync-gnus--newcomer-again newcomer) t)
          (when-let* ((group (cl-some
                              (lambda (name)
                                (let ((group (gnus-group-prefixed-name
                                              name method)))
                                  (and (not (assoc group refused)) group)))
                              (mailsync-gnus--newcomer-candidates
                               newcomer method))))
            (mailsync-gnus--take-newcomer newcomer group method)))))))

(defun mailsync-gnus--tell-imap (group method)
  "Tell the nnimap server METHOD that GROUP is subscribed, as Gnus does.
Without waiting for what it says to that."
  (condition-case err
      (progn
        (mailsync-gnus--imap-try
         method (lambda () (nnimap-open-server (nth 1 method) (cddr method))))
        (with-current-buffer (nnimap-find-process-buffer
                              (get-buffer mailsync-gnus--imap-buffer-name))
          (nnimap-send-command "SUBSCRIBE %S"
                               (nnimap-group-to-imap
                                (mailsync-gnus--real-name group)))))
    (error (mailsync-log-add 'warning "%s: its server is not told: %s" group
                             (error-message-string err)))))

;;;; Gnus's rules

(defun mailsync-gnus--subscription (group)
  "The function, or functions, by which Gnus subscribes to GROUP.
Or a string that says why it does not."
  (let ((method (pcase (gnus-matches-options-n group)
                  ('subscribe gnus-subscribe-options-newsgroup-method)
                  ('ignore "Gnus's options say to ignore it")
                  (_ (if gnus-subscribe-hierarchical-interactive
                         'gnus-subscribe-interactively
                       gnus-subscribe-newsgroup-method)))))
    (if (not (memq 'gnus-subscribe-interactively (ensure-list method)))
        method
      "Gnus would ask you: M-x gnus-find-new-newsgroups")))

(defun mailsync-gnus--subscribe (group method)
  "Subscribe to GROUP of the server METHOD as Gnus's rules say.
Return nil if it is subscribed, else a string that says why not."
  (let ((subscription (mailsync-gnus--subscription group)))
    (cond
     ((mailsync-gnus--entry group) nil)
     ((not (equal (mailsync-gnus--why-not group) "unknown to Gnus"))
      (mailsync-gnus--why-not group))
     ((stringp subscription)
      (mailsync--once (list 'subscribe group subscription) 'info
                      "%s: not subscribed: %s" group subscription)
      subscription)
     (t
      (let ((outcome
             (condition-case err
                 (or (mailsync-gnus--quietly
                       (mailsync-gnus--subscribe-1 group method subscription))
                     "you have quit that")
               (error (error-message-string err)))))
        (cond
         ((eq outcome 'subscribed)
          (mailsync-log-add 'info "%s: subscribed" group)
          nil)
         (t
          (mailsync--once (list 'subscribe group outcome) 'info
                          "%s: not subscribed: %s" group outcome)
          outcome)))))))

(defun mailsync-gnus--subscribe-destination (group)
  "Mail was split into GROUP: if it is new, subscribe to it as is wanted.
Return a string that says why not, or nil."
  (when (and mailsync-gnus-subscribe-new
             (equal (mailsync-gnus--why-not group) "unknown to Gnus")
             (mailsync-gnus--subscribe-p group nil))
    (let ((method (ignore-errors (gnus-find-method-for-group group))))
      (when (and method (mailsync-gnus--usable-p method))
        (mailsync-gnus--subscribe group method)))))

(defun mailsync-gnus--subscribe-1 (group method subscription)
  "Subscribe to GROUP of the server METHOD by SUBSCRIPTION.
That is a function or several.  Return `subscribed', or a string
that says why it is not."
  (let* ((nnimap (eq (car method) 'nnimap))
         ;; That it is there an nnimap server has said.
         (known (or nnimap
                    (and (eq (car method) 'nnmaildir)
                         (mailsync-gnus--too-large-p group method)))))
    (cond
     ((not (or known
               ;; The check that follows sees to the rest of many.
               (mailsync-gnus--helping-scan group method nil #'ignore
                 (lambda () (gnus-activate-group group 'scan nil method)))))
      (mailsync-gnus--status-message group))
     (t
      (mailsync-gnus--call-subscription group method subscription)
      (if (not (mailsync-gnus--entry group))
          (mailsync-gnus--why-not group)
        ;; The check that follows counts from there.
        (when (and nnimap (not (mailsync-gnus--active group)))
          (puthash group (cons 1 0) gnus-active-hashtb))
        (when (mailsync-gnus--active group)
          (setcar (mailsync-gnus--entry group) 0))
        (gnus-group-update-group
         group
         (or (> (mailsync-gnus--level (mailsync-gnus--info group))
                gnus-group-default-list-level)
             (mailsync-gnus--folded-p group))
         t)
        'subscribed)))))

(defun mailsync-gnus--call-subscription (group method subscription)
  "Have SUBSCRIPTION decide about GROUP of METHOD, as Gnus does.
Gnus would wait for an nnimap server to take note of it."
  (let ((gnus-override-subscribe-method method)
        (request (symbol-function 'gnus-request-update-group-status))
        (tell nil))
    ;; So that Gnus does not find it once more.
    (unless gnus-killed-hashtb (gnus-make-hashtable-from-killed))
    (puthash group t gnus-killed-hashtb)
    (cl-letf (((symbol-function 'gnus-request-update-group-status)
               (lambda (group status)
                 (if (eq (car method) 'nnimap)
                     (setq tell t)
                   (funcall request group status)))))
      (with-current-buffer gnus-group-buffer
        (save-excursion
          (condition-case err
              (gnus-call-subscribe-functions subscription group)
            (error
             ;; A hook may have failed when it was done.
             (if (mailsync-gnus--entry group)
                 (mailsync-log-add 'error "%s: subscribed, but: %s" group
                                   (error-message-string err))
               (signal (car err) (cdr err))))))))
    (when tell
      (mailsync-gnus--tell-imap group method))))

(provide 'mailsync-gnus-subscribe)
;;; mailsync-gnus-subscribe.el ends here
